"""Distributing the tables over the machines of a Citus. All rows of a run lie on one machine."""

import asyncio
import secrets
from typing import Final

from stepwell.clock import Clock
from stepwell.errors import ConflictError
from stepwell.settings import Settings
from stepwell.store.postgres_address import parse_address
from stepwell.store.postgres_migrate import migrate
from stepwell.store.postgres_pool import Pool
from stepwell.store.postgres_rows import Speech, ask
from stepwell.store.postgres_wire import DRIVER_ERRORS, Wire, not_readable

REFERENCES: Final = ("nodes", "collections")
"""Small tables, on every machine. Those that are not named here stay on the coordinator."""

DISTRIBUTED: Final = {
    "runs": ("run_id", "none"),
    "run_tags": ("run_id", "runs"),
    "events": ("run_id", "runs"),
    "messages": ("run_id", "runs"),
    "waiters": ("run_id", "runs"),
    "hooks": ("run_id", "runs"),
    "idempotency": ("key", "none"),
    "records": ("collection", "none"),
    "record_keys": ("collection", "records"),
    "record_changes": ("collection", "records"),
}
"""By which column, and beside whose rows."""


def distribute(url: str, *, clock: Clock, settings: Settings) -> list[str]:
    """Make the tables if they are not there, and distribute those that are not distributed; return which were.

    May be called again: what is done stays done, and what was interrupted is finished.

    Raises:
        ConflictError: The database is no Citus.
        UnavailableError: It cannot be used.
    """
    return asyncio.run(_distribute(url, clock, settings))


async def _distribute(url: str, clock: Clock, settings: Settings) -> list[str]:
    address, speech = parse_address(url), Speech(None)
    pool = Pool(address, speech, clock=clock, settings=settings)
    try:
        return await _distribute_at(await pool.connect(), speech, address.name)
    except DRIVER_ERRORS as error:
        raise (not_readable(error, address.name) or error) from error
    finally:
        await pool.close()


async def _distribute_at(wire: Wire, speech: Speech, name: str) -> list[str]:
    if not await wire.fetchval(speech.text("citus_is_there")):
        raise ConflictError(
            f"{name} is no Citus: create_distributed_table is missing. On the coordinator of a Citus run "
            "CREATE EXTENSION citus in this database first; a plain PostgreSQL needs no --distribute"
        )
    await migrate(wire, speech, name, secrets.token_hex(8))
    there: list[str] = await ask(wire, speech, "citus_distributed", list[str])
    for table in REFERENCES:
        if table not in there:
            await wire.fetch(speech.text("citus_refer"), table)
    for table, (column, beside) in DISTRIBUTED.items():
        if table not in there:
            await wire.fetch(speech.text("citus_distribute"), table, column, beside)
    return [table for table in (*REFERENCES, *DISTRIBUTED) if table not in there]
