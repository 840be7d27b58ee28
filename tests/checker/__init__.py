"""The history checker: what clients and bodies saw, held against what the store says afterwards and what was promised."""
