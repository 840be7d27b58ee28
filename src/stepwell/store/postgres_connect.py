"""Opening connections: one host after the other, and with or without a pooler in between.

Behind a pooler in transaction mode (PgBouncer, say) each transaction may come to another session of the server. So nothing is
left in a session: settings of the address are made in every transaction, and a statement and its answer are one transaction.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from stepwell.store.postgres_address import Address, is_exposed
from stepwell.store.postgres_wire import DRIVER_ERRORS, Wire, end_of, is_next_host_tried, is_refused_by_pooler, open_wire

T = TypeVar("T")

_STATEMENTS_KEPT: Final = 200

_log = logging.getLogger(__name__)
_warned: set[str] = set()


async def connect(address: Address, timeout_s: float) -> Wire:
    """Open a connection to the first host that takes it."""
    loop = asyncio.get_running_loop()
    late_s = loop.time() + timeout_s
    last: Exception | None = None
    for number, dsn in enumerate(address.dsns):
        # A host that says nothing leaves time for the others.
        share_s = (late_s - loop.time()) / (len(address.dsns) - number)
        try:
            return await _connect(address, dsn, min(share_s, address.connect_timeout_s or share_s))
        except DRIVER_ERRORS as error:
            if not is_next_host_tried(error):
                raise
            last = error
    assert last is not None
    raise last


async def _connect(address: Address, dsn: str, timeout_s: float) -> Wire:
    if address.prepared == "auto":
        with contextlib.suppress(_Pooler):
            return await _connect_directly(address, dsn, timeout_s)
    return _Pooled(await _open(address, dsn, timeout_s, {}, keeps=address.prepared == "on"), _settings(address))


async def _connect_directly(address: Address, dsn: str, timeout_s: float) -> Wire:
    try:
        wire = await _open(address, dsn, timeout_s, _settings(address), keeps=True)
    except DRIVER_ERRORS as error:
        if is_refused_by_pooler(error):
            raise _Pooler from error
        raise
    # A pooler greets with a number of its own, and not with that of a process of the server.
    try:
        if await wire.execute(f"SELECT 1 WHERE pg_backend_pid() = {wire.get_server_pid()}") != "SELECT 1":
            raise _Pooler
    except BaseException:
        wire.terminate()
        raise
    return wire


async def _open(address: Address, dsn: str, timeout_s: float, settings: dict[str, str], *, keeps: bool) -> Wire:
    wire = await open_wire(
        dsn, timeout_s=timeout_s, settings=settings, statements_kept=_STATEMENTS_KEPT if keeps else 0,
        trusts_system=address.trusts_system,
    )  # fmt: skip
    host, mode = end_of(wire)
    if is_exposed(host, mode) and address.name not in _warned:
        _warned.add(address.name)
        _log.warning(
            "%s: sslmode=%s does not keep others from reading or changing what goes to %s: use sslmode=verify-full",
            address.name, mode, host,
        )  # fmt: skip
    return wire


def _settings(address: Address) -> dict[str, str]:
    return {"application_name": address.application_name, **address.settings}


class _Pooler(Exception):
    """There is one."""


class _Pooled:
    """A ``Wire`` that leaves nothing behind in a session."""

    def __init__(self, wire: Wire, settings: dict[str, str]) -> None:
        self._wire = wire
        self._task: asyncio.Task[Any] | None = None
        made = ", ".join(f"set_config({_literal(name)}, {_literal(value)}, TRUE)" for name, value in settings.items())
        self._settings = f"SELECT {made}"

    async def execute(self, text: str, *parameters: Any) -> str:
        if text.startswith("BEGIN"):
            begin, _, rest = text.partition(";")
            return await self._uncancelled(self._wire.execute(f"{begin}; {self._settings}; {rest}"))
        return await self._uncancelled(self._within(lambda: self._wire.execute(text, *parameters)))

    async def fetchval(self, text: str, *parameters: Any) -> Any:
        return await self._uncancelled(self._within(lambda: self._wire.fetchval(text, *parameters)))

    async def fetch(self, text: str, *parameters: Any) -> Sequence[Sequence[Any]]:
        return await self._uncancelled(self._within(lambda: self._wire.fetch(text, *parameters)))

    async def _uncancelled(self, what: Coroutine[Any, Any, T]) -> T:
        # The driver would have the pooler cancel a statement that nobody waits for any more. PgBouncer may end when it is asked
        # to (its issue 801), and everybody's connections with it: only this one is cut.
        task = self._task = asyncio.create_task(what)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.terminate()
            raise

    async def _within(self, what: Callable[[], Awaitable[T]]) -> T:
        if self._wire.is_in_transaction():
            return await what()
        await self._wire.execute(f"BEGIN; {self._settings}")
        try:
            result = await what()
        except DRIVER_ERRORS:
            if not self._wire.is_closed():
                with contextlib.suppress(*DRIVER_ERRORS):
                    await self._wire.execute("ROLLBACK")
            raise
        await self._wire.execute("COMMIT")
        return result

    def is_in_transaction(self) -> bool:
        return self._wire.is_in_transaction()

    def get_server_pid(self) -> int:
        return self._wire.get_server_pid()

    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None:
        raise AssertionError("nobody is heard through a pooler")

    def add_termination_listener(self, callback: Callable[..., None]) -> None:
        self._wire.add_termination_listener(callback)

    def is_closed(self) -> bool:
        return self._wire.is_closed()

    async def close(self) -> None:
        if self._task is not None and not self._task.done():
            self.terminate()
        else:
            await self._wire.close()

    def terminate(self) -> None:
        if self._task is not None:
            self._task.add_done_callback(_ignored)
        self._wire.terminate()


def _ignored(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


def is_pooled(wire: Wire) -> bool:
    """Tell whether a pooler stands between us and the server."""
    return isinstance(wire, _Pooled)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'" if "\\" not in text else "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
