"""Runs that wait for the end of others: who is told, and which children are cancelled along with their parent."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from stepwell.model import STATUSES
from stepwell.store import control, drafts
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
        outcome: Cancelled | None = None
        parents = [request.run_id]
        while parents:
            children: dict[str, list[str]] = {}
            if outcome is not None or request.children:
                for parent, child in (yield from ask("find_awaited_children", list[tuple[str, str]], to_json(parents))):
                    children.setdefault(parent, []).append(child)
                yield from self._read([child for some in children.values() for child in some])
            found = list[str]()
            for parent in parents:
                one = request if outcome is None else msgspec.structs.replace(request, run_id=parent)
                done = control.cancel(self._page, one, children.get(parent, ()))
                if done.reason in ("cancelled", "asked"):
                    found += children.get(parent, ())
                if outcome is None:
                    outcome = done
                elif done.reason == "cancelled":
                    self._page.ended_besides.append(parent)
            parents = found
        assert outcome is not None
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
                run_id=waiter, kind="run", name=target, message_id=self._round(target, run, waiter),
                payload=_outcome(run, payload), at_ms=self._page.now_ms,
            )
            for waiter, run, target, payload in letters
        ]  # fmt: skip
        asked = to_json([(put.run_id, put.kind, put.message_id) for put in puts])
        self._page.keep_messages((yield from ask("find_messages", list[tuple[str, str, str, int]], asked)))
        self._page.mailed += [put.run_id for put in puts if drafts.put(self._page, put).reason == "stored"]

    def _round(self, target: str, run: Draft | None, waiter: str) -> str:
        """Return the id of the message. Who is retried asks again, and must hear again of an end that is the same as before."""
        asking = self._page.runs.get(waiter)
        return f"{target}/{0 if run is None else run.attempt}/{0 if asking is None else asking.attempt}"


def _outcome(run: Draft | None, payload: str) -> str:
    status = "missing" if run is None else STATUSES[run.status]
    return f'{{"status":"{status}","final":{payload}}}'
