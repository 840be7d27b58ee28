"""Dying at every commit, in this process and for real."""
