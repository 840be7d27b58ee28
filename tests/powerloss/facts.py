"""Facts, and the two words that a workload says to ``disklog.c`` about them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec

Facts: TypeAlias = Mapping[str, str]
"""Name -> value of what never changes once it is true."""


class DamagedError(Exception):
    """What was found is no sound database."""


class Witness:
    """Says into the log what was acknowledged, and when this process is to die."""

    def __init__(self, folder: Path) -> None:
        self._ack = os.open(folder / "ACK", os.O_WRONLY | os.O_CREAT)
        self._kill = os.open(folder / "KILL", os.O_WRONLY | os.O_CREAT)

    def acknowledge(self, facts: Facts) -> None:
        """Put into the log that all of this is durable from now on."""
        os.write(self._ack, msgspec.json.encode(facts))

    def kill(self) -> None:
        """End this process with SIGKILL."""
        os.write(self._kill, b".")
