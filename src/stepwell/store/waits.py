"""Runs that wait for the end of others: who is told, and which children are cancelled along with their parent."""

from collections.abc import Callable, Sequence
from typing import Final

from stepwell.model import STATUSES
from stepwell.store import drafts
from stepwell.store.base import OVER_FROM, Cancel, Cancelled, Put
from stepwell.store.drafts import Draft, Page
from stepwell.store.plans import Plan, Table, Write, ask, change, to_json

_WAITERS: Final = Table("insert_waiters", ("run_id", "waiter"))


class Waits:
    """The waits for runs that a batch begins and ends. ``read`` makes sure that runs are in the page."""

    def __init__(self, page: Page, read: Callable[[Sequence[str]], Plan[None]]) -> None:
        self._page = page
        self._read = read

    def register(self) -> Plan[None]:
        """Note who waits for whom. Those who wait for what is over, or does not exist, are told at once."""
        page = self._page
        if not page.waits:
            return
        yield from self._read(list(dict.fromkeys(target for target, _ in page.waits)))
        open_waits: list[tuple[str, str]] = []
        over: list[tuple[str, str]] = []
        for target, waiter in page.waits:
            run = page.runs.get(target)
            is_open = run is not None and (run.status < OVER_FROM or target in page.ended)
            (open_waits if is_open else over).append((target, waiter))
        page.waits.clear()
        if open_waits:
            yield [Write(_WAITERS, sorted(set(open_waits)))]
        if over:
            targets = to_json(list({target for target, _ in over}))
            payloads = dict((yield from ask("find_final_payloads", list[tuple[str, str]], targets)))
            yield from self._put([(waiter, page.runs.get(target), target, payloads.get(target, "{}")) for target, waiter in over])

    def cancel(self, request: Cancel) -> Plan[Cancelled]:
        """End a run as cancelled, and the children that it waits for, and theirs."""
        outcome = drafts.cancel(self._page, request)
        parents = [request.run_id] if outcome.reason == "cancelled" and request.children else []
        while parents:
            children = yield from ask("find_awaited_children", list[str], to_json(parents))
            yield from self._read(children)
            parents = list[str]()
            for child in children:
                along = Cancel(run_id=child, reason=request.reason, payload=request.payload, at_ms=request.at_ms)
                if drafts.cancel(self._page, along).reason == "cancelled":
                    parents.append(child)
                    self._page.ended_besides.append(child)
        return outcome

    def tell(self) -> Plan[None]:
        """Tell those who wait for the runs that have ended in this batch."""
        page = self._page
        if not page.ended:
            return
        ended = to_json(list(page.ended))
        waiting = yield from ask("find_waiters", list[tuple[str, str]], ended)
        if waiting:
            yield from self._read([waiter for _, waiter in waiting])
            yield from self._put([(waiter, page.runs[target], target, page.ended[target].payload) for target, waiter in waiting])
            yield from change("delete_waiters", ended)

    def _put(self, letters: Sequence[tuple[str, Draft | None, str, str]]) -> Plan[None]:
        puts = [
            Put(
                run_id=waiter, kind="run", name=target, message_id=f"{target}/{run.attempt if run is not None else 0}",
                payload=_outcome(run, payload), at_ms=self._page.now_ms,
            )
            for waiter, run, target, payload in letters
        ]  # fmt: skip
        asked = to_json([(put.run_id, put.kind, put.message_id) for put in puts])
        self._page.keep_messages((yield from ask("find_messages", list[tuple[str, str, str, int]], asked)))
        self._page.mailed += [put.run_id for put in puts if drafts.put(self._page, put).reason == "stored"]


def _outcome(run: Draft | None, payload: str) -> str:
    status = "missing" if run is None else STATUSES[run.status]
    return f'{{"status":"{status}","final":{payload}}}'
