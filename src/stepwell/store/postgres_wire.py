"""Connections to PostgreSQL: what is used of the driver, and what its errors mean.

The only file that imports the driver. Connections are bound to the event loop that opened them.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import asyncpg  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]

from stepwell.errors import CorruptStoreError, StepwellError, UnavailableError
from stepwell.store.base import DataRefused, NotApplied

_driver: Any = asyncpg

ServerError: type[Exception] = _driver.PostgresError
"""What the server has said, and not the driver or the wire."""

_CONFUSED: type[Exception] = _driver.InternalClientError
"""The driver does not know where it is: the server has taken leave, say, and the end of the connection is still on its way."""

DRIVER_ERRORS: tuple[type[Exception], ...] = (_driver.PostgresError, _driver.InterfaceError, _CONFUSED, OSError)
"""All that the server, the driver and the wire itself raise."""


class Wire(Protocol):
    """One connection."""

    async def execute(self, text: str, *parameters: Any) -> str:
        """Carry out; return the command's tag. Without parameters the text may hold several commands."""
        ...

    async def fetchval(self, text: str, *parameters: Any) -> Any: ...

    async def fetch(self, text: str, *parameters: Any) -> Sequence[Sequence[Any]]: ...

    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None: ...

    def add_termination_listener(self, callback: Callable[..., None]) -> None: ...

    def is_in_transaction(self) -> bool: ...

    def get_server_pid(self) -> int: ...

    def is_closed(self) -> bool: ...

    async def close(self) -> None: ...

    def terminate(self) -> None: ...


async def open_wire(dsn: str, *, timeout_s: float, settings: dict[str, str], statements_kept: int, trusts_system: bool) -> Wire:
    """Open a connection. ``trusts_system``: the server must show a certificate that this machine trusts."""
    wire: Wire = await _driver.connect(
        dsn, timeout=timeout_s, statement_cache_size=statements_kept, server_settings=settings or None,
        ssl=await asyncio.to_thread(ssl.create_default_context) if trusts_system else None,
    )  # fmt: skip
    return wire


def end_of(wire: Wire) -> tuple[str | None, str]:
    """Return the host at the other end, None for a socket of this machine, and the ``sslmode`` that the connection has."""
    # The driver tells nobody, and only it has read the environment and the files where this may stand.
    place: tuple[str, int] | str = getattr(wire, "_addr", "")
    mode: str = getattr(wire, "_params").sslmode.name  # noqa: B009 - as above
    return (None if isinstance(place, str) else place[0]), mode.replace("_", "-")


def sqlstate_of(error: BaseException) -> str:
    """Return the five characters by which the server says what went wrong, or "" if it was not the server that said it."""
    return str(getattr(error, "sqlstate", None) or "")


def is_worth_repeating(error: Exception) -> bool:
    """Tell whether the same transaction, run again from its start at once, is likely to succeed: somebody was in the way.

    A key that is there already was added by another node since this one has looked: the next look will find it.
    """
    return sqlstate_of(error) in ("40001", "40P01", "23505")


def is_lost(error: Exception) -> bool:
    """Tell whether the connection is gone, or good for nothing: another must be opened."""
    state = sqlstate_of(error)
    if state:
        return state.startswith(("08", "57P")) or state in ("25P03", "25P04", "25006", "26000", "42P05")
    return isinstance(error, DRIVER_ERRORS) and not isinstance(error, _driver.DataError)


def is_next_host_tried(error: Exception) -> bool:
    """Tell whether another host may take the connection that this one has not taken."""
    return isinstance(error, OSError | _CONFUSED) or sqlstate_of(error) == "57P03"


def is_refused_by_pooler(error: Exception) -> bool:
    """Tell whether a pooler has refused settings of the session: no server does."""
    return sqlstate_of(error) == "08P01" and "startup parameter" in str(error)


def is_not_understood(error: Exception) -> bool:
    """Tell whether the server lacks something that a statement uses."""
    state = sqlstate_of(error)
    return state.startswith(("0A", "42")) and state != "42501"


def is_interruption(error: BaseException | None) -> bool:
    """Tell whether a server was there, and could not finish what it had begun: it starts, stops, or the connection was cut.

    An ``UnavailableError`` is judged by what has caused it.
    """
    if isinstance(error, UnavailableError):
        return is_interruption(error.__cause__)
    if sqlstate_of(error or OSError()) in ("57P01", "57P02", "57P03", "08003", "08006"):
        return True
    kinds = ConnectionResetError | BrokenPipeError | _driver.InterfaceError | _CONFUSED
    return isinstance(error, kinds) and not isinstance(error, ValueError)


def not_committed(error: Exception) -> StepwellError | None:
    """Return what to raise for an error before the commit, or None for one that only a mistake in the code explains."""
    if isinstance(error, StepwellError):
        return error
    state = sqlstate_of(error)
    if state in ("XX001", "XX002"):
        return CorruptStoreError(f"the database is damaged ({error})")
    if isinstance(error, _driver.DataError | UnicodeError | OverflowError) or state.startswith(("22", "23", "54")):
        return DataRefused(f"the store refuses a value: {error}")
    why = _passing(error)
    return None if why is None else NotApplied(why)


def not_readable(error: Exception, name: str) -> StepwellError | None:
    """Return what to raise for an error while opening or reading, or None for one that only a mistake in the code explains."""
    if isinstance(error, StepwellError):
        return error
    state = sqlstate_of(error)
    if state in ("XX001", "XX002"):
        return CorruptStoreError(f"{name} is damaged ({error})")
    why = _passing(error)
    if why is None and (state.startswith(("28", "3D", "3F", "0A")) or state in ("42501", "42P01", "42704", "22023")):
        why = str(error)
    if why is None and isinstance(error, ValueError):
        why = f"the driver does not understand the address ({error})"
    return None if why is None else UnavailableError(f"{name} cannot be used: {why}")


def _passing(error: Exception) -> str | None:
    state = sqlstate_of(error)
    if state.startswith("40"):
        return f"another node was in the way ({error})"
    if state in ("55P03", "57014"):
        return f"the database took too long ({error})"
    if state == "25006":
        return "the database only reads: it is a standby, or was told to"
    if state.startswith(("53", "58")):
        return f"the database lacks room, memory or connections ({error})"
    if isinstance(error, TimeoutError):
        return "the database did not answer in time"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error})"
    if is_lost(error) or state.startswith("25"):
        return f"the connection is lost ({error or type(error).__name__})"
    return None
