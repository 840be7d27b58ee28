"""Bringing a PostgreSQL database up to this code, from any number of nodes at once.

Who migrates holds a row in ``leases``, taken by compare-and-set; the others wait until the work is done, or until its holder is
gone. Each statement is a step of its own that may be run again, so a migration killed half way is simply run again.
"""

import asyncio
from collections.abc import Sequence
from importlib.resources import files
from typing import Final

import uuid_utils

from stepwell.clock import Clock
from stepwell.errors import CorruptStoreError, UnavailableError
from stepwell.failpoints import failpoint
from stepwell.settings import Settings
from stepwell.store.postgres_address import parse_address
from stepwell.store.postgres_pool import Pool
from stepwell.store.postgres_rows import Speech, changed
from stepwell.store.postgres_wire import ServerError, Wire, is_worth_repeating, sqlstate_of
from stepwell.store.schema import Schema

_LEASE_MS: Final = 15_000
_LOOK_S: Final = 0.05
_NO_SUCH_TABLE: Final = "42P01"
_NO_RIGHT: Final = "42501"


def _steps(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return [step.strip() for step in "\n".join(lines).split(";\n") if step.strip(" \n;")]


def _read() -> list[tuple[int, str, list[str]]]:
    folder = files("stepwell.store") / "migrations" / "postgres"
    scripts = sorted((entry.name, entry.read_text(encoding="utf-8")) for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name.partition("_")[0]), name.removesuffix(".sql"), _steps(text)) for name, text in scripts]


MIGRATIONS: Final = _read()
"""Number, name and steps of each."""


async def migrate(wire: Wire, speech: Speech, name: str, holder: str) -> None:
    """Apply the migrations that this database lacks, as a holder that was drawn at random and is interrupted now and then. Of
    those that come after the first the audit log tells.

    Raises:
        CorruptStoreError: The database is newer than this code. It is not changed.
        UnavailableError: Another node has been at it for too long.
    """
    if await _is_current(wire, speech, name):
        return
    for table in ("create_migrations", "create_leases"):
        await _create(wire, speech.text(table))
    await wire.execute(speech.text("add_lease"), "migrate")
    loop = asyncio.get_running_loop()
    late_s = loop.time() + 2 * _LEASE_MS / 1000
    while changed(await wire.execute(speech.text("take_lease"), holder, _LEASE_MS, "migrate")) != 1:
        if await _is_current(wire, speech, name):
            return
        if loop.time() > late_s:
            raise UnavailableError(f"{name} is being migrated by another process: try again in a minute")
        await asyncio.sleep(_LOOK_S)
    try:
        await _apply(wire, speech, name, holder)
    finally:
        if not wire.is_closed():
            await wire.execute(speech.text("give_lease"), "migrate", holder)


async def find_schema(url: str, *, clock: Clock, settings: Settings) -> Schema | None:
    """Look at the schema of a database; None if there is no store in it.

    Raises:
        CorruptStoreError: It is newer than this code.
        UnavailableError: It cannot be reached or read.
    """
    address, speech = parse_address(url), Speech(None)
    pool = Pool(address, speech, clock=clock, settings=settings)
    try:
        async with pool.lend() as wire:
            version = await _known_version(wire, speech, address.name)
    finally:
        await pool.close()
    return Schema(address.name, version, MIGRATIONS[-1][0]) if version else None


async def _is_current(wire: Wire, speech: Speech, name: str) -> bool:
    return await _known_version(wire, speech, name) == MIGRATIONS[-1][0]


async def _known_version(wire: Wire, speech: Speech, name: str) -> int:
    newest = MIGRATIONS[-1][0]
    version = await _version(wire, speech)
    if version > newest:
        raise CorruptStoreError(
            f"{name} was written by a newer stepwell (its schema is number {version}, this one knows {newest}): upgrade stepwell"
        )
    return version


async def _version(wire: Wire, speech: Speech) -> int:
    try:
        return int(await wire.fetchval(speech.text("newest_migration")) or 0)
    except ServerError as error:
        if sqlstate_of(error) != _NO_SUCH_TABLE:
            raise
    return 0


async def _apply(wire: Wire, speech: Speech, name: str, holder: str) -> None:
    if await _is_current(wire, speech, name):
        return
    version = await _version(wire, speech)
    for number, script, steps in MIGRATIONS:
        if number > version:
            await _run(wire, speech, steps, holder)
            await wire.execute(speech.text("note_migration"), number, script, holder)
            if version:
                await wire.execute(speech.text("note_upgrade"), str(uuid_utils.uuid7()), script)


async def _run(wire: Wire, speech: Speech, steps: Sequence[str], holder: str) -> None:
    for step in steps:
        failpoint("migrate")
        if changed(await wire.execute(speech.text("take_lease"), holder, _LEASE_MS, "migrate")) != 1:
            raise UnavailableError("the migration was taken over by another process: try again")
        await _create(wire, step)


async def _create(wire: Wire, text: str) -> None:
    # IF NOT EXISTS looks before it creates: of two that create at once, one fails.
    try:
        await wire.execute(text)
    except ServerError as error:
        if sqlstate_of(error) == _NO_RIGHT:
            raise UnavailableError(
                f"this role may not make the tables ({error}): GRANT USAGE, CREATE ON SCHEMA to it, or have a role that may run "
                "`stepwell db migrate` and GRANT this one the tables"
            ) from error
        if not (is_worth_repeating(error) or sqlstate_of(error) in ("42P07", "42710")):
            raise
        await wire.execute(text)
