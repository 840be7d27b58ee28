"""Runs that wait for the end of others: who is told, and which children are cancelled along with their parent."""

from collections.abc import Callable, Sequence
from typing import Final

from stepwell.model import STATUSES
from stepwell.store import drafts
from stepwell.store.base import OVER_FROM, Cancel, Cancelled, Put
from stepwell.store.drafts import Draft, Page
from stepwell.store.sqlite_connection import Connection
from stepwell.store.sqlite_rows import Question, RowWriter, to_json
from stepwell.store.statements import statement

_WAITERS: Final = Question("sqlite/find_waiters")
_AWAITED_CHILDREN: Final = Question("sqlite/find_awaited_children")
_FINAL_EVENTS: Final = Question("sqlite/find_final_payloads")
_MESSAGES: Final = Question("sqlite/find_messages")
_INSERT_WAITERS: Final = RowWriter("common/insert_waiters", 2)
_DELETE_WAITERS: Final = statement("sqlite/delete_waiters")


class Waits:
    """The waits for runs that a batch begins and ends. ``read`` makes sure that runs are in the page."""

    def __init__(self, connection: Connection, page: Page, read: Callable[[Sequence[str]], None]) -> None:
        self._connection = connection
        self._page = page
        self._read = read

    def register(self) -> None:
        """Note who waits for whom. Those who wait for what is over, or does not exist, are told at once."""
        page = self._page
        if not page.waits:
            return
        self._read(list(dict.fromkeys(target for target, _ in page.waits)))
        open_waits: list[tuple[str, str]] = []
        over: list[tuple[str, str]] = []
        for target, waiter in page.waits:
            run = page.runs.get(target)
            is_open = run is not None and (run.status < OVER_FROM or target in page.ended)
            (open_waits if is_open else over).append((target, waiter))
        page.waits.clear()
        _INSERT_WAITERS.write(self._connection, open_waits)
        if over:
            targets = to_json(list({target for target, _ in over}))
            payloads = dict(_FINAL_EVENTS.ask(self._connection, list[tuple[str, str]], targets))
            self._put([(waiter, page.runs.get(target), target, payloads.get(target, "{}")) for target, waiter in over])

    def cancel(self, request: Cancel) -> Cancelled:
        """End a run as cancelled, and the children that it waits for, and theirs."""
        outcome = drafts.cancel(self._page, request)
        parents = [request.run_id] if outcome.reason == "cancelled" and request.children else []
        while parents:
            children = _AWAITED_CHILDREN.ask(self._connection, list[str], to_json(parents))
            self._read(children)
            parents = list[str]()
            for child in children:
                along = Cancel(run_id=child, reason=request.reason, payload=request.payload, at_ms=request.at_ms)
                if drafts.cancel(self._page, along).reason == "cancelled":
                    parents.append(child)
                    self._page.ended_besides.append(child)
        return outcome

    def tell(self) -> None:
        """Tell those who wait for the runs that have ended in this batch."""
        page = self._page
        if not page.ended:
            return
        ended = to_json(list(page.ended))
        waiting = _WAITERS.ask(self._connection, list[tuple[str, str]], ended)
        if waiting:
            self._read([waiter for _, waiter in waiting])
            self._put([(waiter, page.runs[target], target, page.ended[target].payload) for target, waiter in waiting])
            self._connection.execute(_DELETE_WAITERS, (ended,))

    def _put(self, letters: Sequence[tuple[str, Draft | None, str, str]]) -> None:
        puts = [
            Put(
                run_id=waiter, kind="run", name=target, message_id=f"{target}/{run.attempt if run is not None else 0}",
                payload=_outcome(run, payload), at_ms=self._page.now_ms,
            )
            for waiter, run, target, payload in letters
        ]  # fmt: skip
        asked = to_json([(put.run_id, put.kind, put.message_id) for put in puts])
        for run_id, kind, message_id, seq in _MESSAGES.ask(self._connection, list[tuple[str, str, str, int]], asked):
            self._page.known_messages[run_id, kind, message_id] = seq
        self._page.mailed += [put.run_id for put in puts if drafts.put(self._page, put).reason == "stored"]


def _outcome(run: Draft | None, payload: str) -> str:
    status = "missing" if run is None else STATUSES[run.status]
    return f'{{"status":"{status}","final":{payload}}}'
