"""The command line: one file a command group, over the same client as everybody else. It needs the extra ``cli``."""

from stepwell.cli.app import main

__all__ = ["main"]
