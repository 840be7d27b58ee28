"""What commands need that look after a store itself, and not after what a server shows of it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import uuid_utils

from stepwell.cli.exits import UsageError
from stepwell.cli.options import Common
from stepwell.connect import connect, find_file
from stepwell.engine.access_calls import KeyBook
from stepwell.engine.keeping import Keeper
from stepwell.errors import UnavailableError
from stepwell.settings import ServerSettings
from stepwell.store.access import AuditRow

_DAY_MS: Final = 86_400_000


@asynccontextmanager
async def opened_store(common: Common) -> AsyncGenerator[Keeper]:
    """Open the store that was named; a file is not made.

    Raises:
        UsageError: A server was named.
        UnavailableError: There is no such store.
    """
    file = find_file(common.store)
    if file is not None and not file.exists():
        raise UnavailableError(f"there is no store {str(file)!r}: name another with --store or STEPWELL_URL")
    engine = connect(common.store)
    if not isinstance(engine, Keeper):
        raise UsageError("this is done where the store is, not through a server: name the store with --store")
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


async def noted(book: KeyBook, action: str, target: str, *, result: str = "done") -> None:
    """Append to the audit log what was done from the command line."""
    now_ms = book.now_ms()
    row = AuditRow(str(uuid_utils.uuid7()), now_ms, "cli", action, target, "", result)
    await book.note([row], now_ms - ServerSettings.from_environment().audit_days * _DAY_MS)
