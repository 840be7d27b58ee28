"""Where a checked storm blows: which store, and what can be done to it."""

import asyncio
from pathlib import Path

from tests.chaos.checked import CheckedStorm
from tests.crash.workers import Worker


class OneFile:
    """A SQLite file."""

    rare = ("fenced", "reaped.nodes", "reaped.runs", "mail.fetched")

    def __init__(self, folder: Path) -> None:
        self._file = folder / "store.db"

    def url(self, who: str) -> str:
        return f"sqlite:///{self._file}"

    async def freeze(self, worker: Worker) -> None:
        # Frozen within a transaction it would stop everybody: nothing else would happen until it is thawed.
        await worker.freeze(self._file)

    def tormentors(self, storm: CheckedStorm) -> list[asyncio.Task[None]]:
        return []

    def ills(self) -> tuple[str, ...]:
        return ()
