"""What commands need that look after a store itself, and not after what a server shows of it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from stepwell.cli.exits import UsageError
from stepwell.cli.options import Common
from stepwell.connect import connect, find_file, find_schema
from stepwell.engine.access_calls import KeyBook
from stepwell.engine.api import Engine
from stepwell.engine.audit import Audit
from stepwell.engine.keeping import Keeper
from stepwell.errors import ConflictError, UnavailableError
from stepwell.settings import ServerSettings, changed


class Outcome:
    """How far something has come that the audit log is to tell of; what it says at last is noted."""

    def __init__(self) -> None:
        self.text = ""


@asynccontextmanager
async def noted(book: KeyBook, action: str, target: str) -> AsyncGenerator[Outcome]:
    """Append to the audit log that something begins, and what became of it.

    Where no other entry follows ``started``, its process has died.
    """
    audit, outcome = audit_of(book), Outcome()
    await audit.note("cli", action, target, result="started")
    try:
        yield outcome
    except BaseException as error:
        why = str(error) or type(error).__name__
        await audit.note("cli", action, target, result=f"failed{outcome.text and ' after '}{outcome.text}: {why}")
        raise
    await audit.note("cli", action, target, result=outcome.text)


async def refuse_other_schema(common: Common) -> None:
    """Look at the schema of a store before it is opened, which would bring it up to this program.

    Raises:
        ConflictError: It is older.
        CorruptStoreError: It is newer, or what is there is no store.
        UnavailableError: It cannot be reached.
    """
    found = await find_schema(common.store)
    if found is not None and found.number < found.newest:
        raise ConflictError(
            f"{found.name} was written by an older stepwell (its schema is number {found.number}, this one knows "
            f"{found.newest}): run `stepwell db migrate`"
        )


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


def audit_of(book: KeyBook) -> Audit:
    """Return the audit log of a store, to append to it what is done from the command line."""
    limits = ServerSettings.from_environment()
    return Audit(book, days=limits.audit_days, refusals_max=limits.refusals_noted_per_minute_max)


async def note_start(engine: Engine, limits: ServerSettings, where: str, options: Sequence[str] = ()) -> None:
    """Append to the audit log that a server starts, and with what settings: those that are not as they are by default."""
    if isinstance(engine, KeyBook):
        given = [f"{name}={value}" for name, value in {**changed(engine.settings), **changed(limits)}.items()]
        await audit_of(engine).note("cli", "startServer", " ".join([where, *options, *given]))
