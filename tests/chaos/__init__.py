"""Longer runs of the same proofs: kill, freeze, pull the plug, and make up workflows."""
