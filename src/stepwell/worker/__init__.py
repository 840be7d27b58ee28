"""Executes runs, over any engine."""
