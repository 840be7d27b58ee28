"""Brings messages to the runs that are held here, and notices what other processes have written."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec

from stepwell.engine.loop import Loop
from stepwell.engine.session import LocalSession
from stepwell.engine.watchers import Watchers
from stepwell.failpoints import counters
from stepwell.settings import Settings
from stepwell.store.base import OVER_FROM, Store
from stepwell.store.hints import EVENTS, Hint

_COMPARE_S: Final = 0.25
_PULSE_MS: Final = 500
"""While others write, it is asked so often what they do not tell: what they leave behind when they die, say."""


class Between(Protocol):
    """The committer, as far as it is needed here."""

    async def between(self, question: Callable[[], Awaitable[Any]]) -> Any: ...


class Addressee(Protocol):
    """The node, as its postman sees it."""

    node_id: str
    settings: Settings
    store: Store
    sessions: list[LocalSession]
    watchers: Watchers
    written: Watchers

    @property
    def committer(self) -> Between: ...

    def holder(self, run_id: str) -> LocalSession | None: ...

    def take_mail(self) -> list[str]:
        """The held runs whose messages are to be fetched."""
        ...

    def known_workflows(self) -> list[tuple[str, str]]: ...

    def want_runs(self) -> None: ...

    def pulse(self) -> None: ...

    def pulse_within(self, ms: int) -> None: ...

    async def forgot(self) -> None:
        """Compare what the store says is owned with what is held."""
        ...


class Postman(Loop):
    """Fetches messages for held runs, and looks up what other processes have written."""

    def __init__(self, node: Addressee) -> None:
        super().__init__(None)
        self._node = node
        self._foreign: Hint | None = None
        self._looked_at = 0.0
        self._will_look = False
        self._compared_at = 0.0
        self._will_compare = False

    def hear(self, hint: Hint) -> None:
        """Another process has written."""
        self._foreign = hint if self._foreign is None else self._foreign | hint
        self.kick()

    async def tick(self) -> None:
        """Look around if there is reason to, and fetch."""
        node = self._node
        if self._foreign is not None and self._may_look():
            hint, self._foreign = self._foreign, None
            await self._look_around(hint)
        mail = node.take_mail()
        if mail:
            counters["mail.fetched"] += 1
            for run_id, messages in (await node.store.messages(mail)).items():
                session = node.holder(run_id)
                if session is not None:
                    session.deliver(run_id, messages)

    def _may_look(self) -> bool:
        """Tell whether it was long enough ago; if not, look when it is. Mail is not kept waiting for that."""
        loop = asyncio.get_running_loop()
        wait_s = self._looked_at + self._node.settings.watch_ms / 1000 - loop.time()
        if wait_s <= 0:
            self._looked_at = loop.time()
        elif not self._will_look:
            self._will_look = True
            loop.call_later(wait_s, self._look_now)
        return wait_s <= 0

    def _look_now(self) -> None:
        self._will_look = False
        self.kick()

    async def _look_around(self, hint: Hint) -> None:
        node = self._node
        node.watchers.all_moved()
        if hint.has_records:
            node.written.all_moved()
        awaited = node.watchers.awaited if hint.has_ended else []
        if awaited:
            statuses = await node.store.statuses(awaited)
            node.watchers.all_over([run_id for run_id in awaited if statuses.get(run_id, OVER_FROM) >= OVER_FROM])
        if not node.sessions:
            return
        if hint.is_due(node.known_workflows()):
            node.want_runs()
        is_mine = hint.is_for(node.node_id)
        if hint.is_later or is_mine:
            node.pulse()
        else:
            node.pulse_within(_PULSE_MS)
        if is_mine:
            await self._compare()

    async def _compare(self) -> None:
        """Find out which held runs were taken away (cancelled by another process, say), a few times a second at most."""
        node, loop = self._node, asyncio.get_running_loop()
        if not any(session.held for session in node.sessions):
            return
        wait_s = self._compared_at + _COMPARE_S - loop.time()
        if wait_s > 0:
            if not self._will_compare:
                self._will_compare = True
                loop.call_later(wait_s, self._compare_now)
            return
        self._compared_at = loop.time()
        await node.committer.between(node.forgot)

    def _compare_now(self) -> None:
        self._will_compare = False
        self.hear(msgspec.structs.replace(EVENTS, owners=frozenset({self._node.node_id})))
