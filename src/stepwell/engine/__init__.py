"""The Engine interface, and a node that implements it."""
