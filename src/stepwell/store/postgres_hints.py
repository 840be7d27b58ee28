"""Telling other nodes what was written, and hearing it from them: LISTEN and NOTIFY.

A hint is sent on a connection of its own after the commit, never in it, because notifications serialise commits; and seldom,
because one says as much as ten. It tells for whom there is something to do, so that the others do nothing. Where none arrive (a
pooler is in between, say), the nodes' rows are looked at twice a second.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from stepwell.errors import StepwellError
from stepwell.failpoints import counters
from stepwell.settings import Settings
from stepwell.store.hints import ANYTHING, EVENTS, Hint
from stepwell.store.postgres_pool import Pool
from stepwell.store.postgres_rows import Speech
from stepwell.store.postgres_wire import DRIVER_ERRORS, ServerError, Wire, is_not_understood

_PROBE: Final = "?"
"""Begins what is sent to find out whether anything is heard, and says nothing to others."""

_PROBE_S: Final = 2.0
_LOOK_S: Final = 0.5
_AGAIN_S: Final = 1.0
_CLOSE_S: Final = 1.0
_BYTES_MAX: Final = 7_500
"""Of what is sent; PostgreSQL takes 7,999. What is longer is left out."""

_INSTEAD: Final = "nodes look for each other's work twice a second instead"
_PASSING: Final[tuple[type[Exception], ...]] = (StepwellError, *DRIVER_ERRORS)

_log = logging.getLogger(__name__)


class _Letter(msgspec.Struct, array_like=True):
    sender: str
    hint: Hint = ANYTHING


_encode = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Letter).decode


class Hints:
    """What one node says and hears."""

    def __init__(self, pool: Pool, speech: Speech, settings: Settings, name: str) -> None:
        self._pool = pool
        self._speech = speech
        self._settings = settings
        self._name = name
        self._me = secrets.token_hex(8)
        self._node_id = ""
        self._heard_itself = asyncio.Event()
        self._due: asyncio.TimerHandle | None = None
        self._hint = EVENTS
        self._sent_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Task[None] | None = None
        self._changed: Callable[[Hint], None] | None = None
        self._signature: str | None = None

    def enrolled(self, node_id: str) -> None:
        """Note which node's row is the own one."""
        self._node_id = node_id

    def watch(self, changed: Callable[[Hint], None]) -> None:
        """Call ``changed`` when another node has written."""
        self._changed = changed
        self._listening = self._spawn(self._listen_for_ever(changed))

    def written(self, hint: Hint) -> None:
        """Tell the others soon."""
        if not self._speech.has.notify:
            return
        self._hint |= hint
        if self._due is None:
            loop = asyncio.get_running_loop()
            wait_s = self._sent_at + self._settings.watch_ms / 1000 - loop.time()
            self._due = loop.call_later(max(0.0, wait_s), lambda: self._spawn(self._tell()))

    async def close(self) -> None:
        """Say what is still to be said, and then no more: what this node has let go of can go on elsewhere."""
        if self._due is not None:
            self._due.cancel()
            self._spawn(self._tell())
        saying = self._tasks - {self._listening}
        if saying:
            await asyncio.wait(saying, timeout=_CLOSE_S)
        self.stop()

    def stop(self) -> None:
        """Say and hear no more."""
        if self._due is not None:
            self._due.cancel()
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Any) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _tell(self) -> None:
        self._sent_at, self._due = asyncio.get_running_loop().time(), None
        hint, self._hint = self._hint, EVENTS
        letter = _encode(_Letter(self._me, hint))
        if not await self._send((letter if len(letter) <= _BYTES_MAX else _encode(_Letter(self._me))).decode()):
            self._hint |= hint  # said with what is written next

    async def _send(self, payload: str) -> bool:
        with contextlib.suppress(*_PASSING):
            async with self._pool.lend() as wire:
                await wire.execute(self._speech.text("notify"), self._channel, payload)
                return True
        return False

    @property
    def _channel(self) -> str:
        return f"stepwell_{self._pool.schema}"

    async def _listen_for_ever(self, changed: Callable[[Hint], None]) -> None:
        while True:
            try:
                await self._listen(changed)
            except _PASSING as error:
                counters["store.hints_lost"] += 1
                _log.info("%s: hints from other nodes are not heard for a while: %s", self._name, error)
            await asyncio.sleep(_AGAIN_S)

    async def _listen(self, changed: Callable[[Hint], None]) -> None:
        wire = await self._pool.connect()
        try:
            gone = asyncio.Event()
            wire.add_termination_listener(partial(_set, gone))
            if self._speech.has.notify and not self._is_in_between() and await self._hears(wire):
                # What was said while nobody listened.
                changed(ANYTHING)
                await gone.wait()
            else:
                await self._look_for_ever(wire, changed)
        finally:
            self._pool.drop(wire)

    def _is_in_between(self) -> bool:
        if self._pool.is_pooled:
            counters["store.deaf"] += 1
            _log.warning("%s is behind a pooler, through which no notifications come: %s", self._name, _INSTEAD)
        return self._pool.is_pooled

    async def _hears(self, wire: Wire) -> bool:
        """Listen, and find out whether anything is heard."""
        self._heard_itself.clear()
        try:
            await wire.add_listener(self._channel, self._heard)
            await self._send(_PROBE + self._me)
            async with asyncio.timeout(_PROBE_S):
                await self._heard_itself.wait()
        except (TimeoutError, ServerError) as error:
            if isinstance(error, ServerError) and not is_not_understood(error):
                raise
            counters["store.deaf"] += 1
            _log.warning("%s: notifications do not arrive: %s", self._name, _INSTEAD)
            return False
        return True

    def _heard(self, _wire: object, _pid: int, _channel: str, payload: str) -> None:
        if payload == _PROBE + self._me:
            self._heard_itself.set()
        elif self._changed is not None and not payload.startswith(_PROBE):
            letter = _read(payload)
            if letter.sender != self._me:
                counters["store.hints_heard"] += 1
                self._changed(letter.hint)

    async def _look_for_ever(self, wire: Wire, changed: Callable[[Hint], None]) -> None:
        while True:
            signature = str(await wire.fetchval(self._speech.text("signature_of_others"), self._node_id))
            if signature != self._signature:
                self._signature = signature
                changed(ANYTHING)
            await asyncio.sleep(_LOOK_S)


def _read(payload: str) -> _Letter:
    try:
        return _decode(payload)
    except msgspec.MsgspecError:
        # Of another release, or of somebody else who uses the channel.
        return _Letter("")


def _set(gone: asyncio.Event, _wire: object) -> None:
    gone.set()
