"""What readers ask of PostgreSQL. Each statement is one snapshot, which is enough: a history only grows, and what a run has not
transcribed only its owner can consume.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from stepwell.progress import Message, StoredEvent
from stepwell.store.access import AuditRow, KeyRow
from stepwell.store.base import (
    COMPLETED,
    OVER_FROM,
    BatchState,
    History,
    HookRow,
    OwnedRun,
    Poll,
    RunQuery,
    RunRow,
    StoredRun,
)
from stepwell.store.drafts import EventRow, MessageRow
from stepwell.store.listing import listing, to_count
from stepwell.store.plans import Parameter, to_json
from stepwell.store.portions import EVENTS_AT_ONCE, stretches
from stepwell.store.postgres_rows import Speech, ask
from stepwell.store.postgres_wire import Wire
from stepwell.store.retention import Prunable


class Reader(NamedTuple):
    """A connection to ask, and the words to do it in."""

    wire: Wire
    speech: Speech

    async def ask(self, name: str, kind: Any, *parameters: Parameter) -> Any:
        """Ask one question."""
        return await ask(self.wire, self.speech, name, kind, *parameters)

    async def rows(self, name: str, *parameters: Parameter) -> list[Any]:
        """Return all rows of a short answer."""
        return [tuple(row) for row in await self.wire.fetch(self.speech.text(name), *parameters)]


async def batch_state(reader: Reader, node_id: str) -> BatchState | None:
    """Return what is known of a node's last batch."""
    rows = await reader.rows("batch_state", node_id)
    return BatchState(rows[0][0] == 1, *rows[0][1:]) if rows else None


async def poll(
    reader: Reader, node_id: str, workflows: Sequence[tuple[str, str]], *, now_ms: int, lease_ms: int
) -> tuple[Poll, int]:
    """Answer a node's combined question, and say what time it is."""
    answer: tuple[Poll, int] = await reader.ask("poll", tuple[Poll, int], to_json(list(workflows)), now_ms, lease_ms, node_id)
    return answer


async def owned(reader: Reader, node_id: str) -> list[OwnedRun]:
    """Return what a node owns."""
    return [OwnedRun(*row) for row in await reader.rows("owned", node_id)]


async def live_nodes(reader: Reader) -> dict[str, str]:
    """Return the ``info`` of each node that nobody has buried."""
    return dict(await reader.rows("live_nodes"))


async def load(reader: Reader, run_ids: Sequence[str]) -> list[History]:
    """Return these runs, as far as they exist, with their histories and unread mail."""
    rows: list[RunRow] = await reader.ask("find_rows", list[RunRow], to_json(list(dict.fromkeys(run_ids))))
    events: dict[str, list[StoredEvent]] = {row.run_id: [] for row in rows}
    for stretch in stretches(rows):
        for event in await reader.ask("histories", list[EventRow], to_json(stretch)):
            events[event.run_id].append(StoredEvent(*event[1:]))
    unread = await messages(reader, [row.run_id for row in rows if row.mailbox_seq > row.mailbox_consumed])
    return [History(row, events[row.run_id], unread.get(row.run_id, [])) for row in rows]


async def messages(reader: Reader, run_ids: Sequence[str]) -> dict[str, list[Message]]:
    """Return the messages that are not transcribed, in order, of the runs that have any."""
    found: dict[str, list[Message]] = {}
    if run_ids:
        for message in await reader.ask("unread_mail", list[MessageRow], to_json(list(run_ids))):
            found.setdefault(message.run_id, []).append(Message(*message[1:]))
    return found


async def find_run(reader: Reader, run_id: str) -> StoredRun | None:
    """Return a run with its input and output."""
    rows: list[RunRow] = await reader.ask("find_rows", list[RunRow], to_json([run_id]))
    return (await _with_ends(reader, rows, with_input=True, with_output=True))[0] if rows else None


async def statuses(reader: Reader, run_ids: Sequence[str]) -> dict[str, int]:
    """Return the status of each of these that exists."""
    return dict(await reader.ask("statuses", list[tuple[str, int]], to_json(list(run_ids))))


async def list_runs(reader: Reader, query: RunQuery) -> list[StoredRun]:
    """Return one page of runs."""
    counted = [(await reader.rows(count.name, *count.parameters))[0][0] for count in to_count(query)]
    name, where, parameters = listing(query, counted)
    for place in range(len(parameters)):
        where = where.replace("?", f"${place + 1}", 1)
    text = f"{reader.speech.text(name)} LIMIT ${len(parameters) + 1}".replace("{where}", where)
    rows = [RunRow(*row) for row in await reader.wire.fetch(text, *parameters, query.limit)]
    return await _with_ends(reader, rows, with_input=query.with_input, with_output=query.with_output)


async def prunable(reader: Reader, status: int, before_ms: int, after: tuple[int, str], limit: int) -> list[Prunable]:
    """Return runs that may be old enough to be removed."""
    return [Prunable(*row) for row in await reader.rows("prunable", status, before_ms, *after, limit)]


async def retention(reader: Reader) -> dict[tuple[str, str], int]:
    """Return how long runs are kept that are not kept for ever."""
    return {(workflow, version): ms for workflow, version, ms in await reader.rows("retention")}


async def expired(
    reader: Reader, workflow: str, version: str, before_ms: int, after: tuple[int, str], limit: int
) -> list[Prunable]:
    """Return runs of a workflow and version that were over before a time."""
    return [Prunable(*row) for row in await reader.rows("expired", workflow, version, before_ms, *after, limit)]


async def events(reader: Reader, run_id: str, after: int, limit: int) -> list[StoredEvent]:
    """Return the events behind number ``after``, at most ``limit``."""
    found: list[StoredEvent] = []
    for start in range(after, after + limit, EVENTS_AT_ONCE):
        end = min(start + EVENTS_AT_ONCE, after + limit)
        page = await reader.ask("histories", list[EventRow], to_json([(run_id, start, end)]))
        found += [StoredEvent(*event[1:]) for event in page]
        if len(page) < end - start:
            break
    return found


async def mail(reader: Reader, run_id: str, after: int, limit: int) -> list[Message]:
    """Return the messages behind a number, transcribed or not."""
    return [Message(*row) for row in await reader.rows("mail_of", run_id, after, limit)]


async def hooks(reader: Reader, run_id: str) -> list[HookRow]:
    """Return the hooks of a run."""
    return [HookRow(*row) for row in await reader.rows("hooks_of", run_id)]


async def keys(reader: Reader) -> list[KeyRow]:
    """Return the keys of servers."""
    return [KeyRow(*row) for row in await reader.rows("keys")]


async def audit(reader: Reader, after: str, limit: int) -> list[AuditRow]:
    """Return a part of the audit log."""
    return [AuditRow(*row) for row in await reader.rows("audit", after, limit)]


async def count_by_status(reader: Reader) -> dict[int, int]:
    """Count runs by status."""
    return dict(await reader.rows("count_by_status"))


async def in_flight(reader: Reader) -> list[tuple[str, str, int, int]]:
    """Count runs that are not over, by workflow, version and status."""
    return [(workflow, version, status, count) for workflow, version, status, count in await reader.rows("count_in_flight")]


async def queue_depth(reader: Reader, now_ms: int, most: int) -> int:
    """Count runs that are claimable."""
    count: int = await reader.wire.fetchval(reader.speech.text("count_claimable"), most, now_ms)
    return count


async def _with_ends(reader: Reader, rows: Sequence[RunRow], *, with_input: bool, with_output: bool) -> list[StoredRun]:
    # Without an output to carry, how a run ended is small: its error, or why it was cancelled.
    asked = [
        (
            row.run_id,
            1 if with_input else 0,
            row.seq if row.status >= OVER_FROM and (with_output or row.status != COMPLETED) else 0,
        )
        for row in rows
    ]
    found = {(event.run_id, event.seq): event for event in await reader.ask("ends", list[EventRow], to_json(asked))}
    results: list[StoredRun] = []
    for row, (run_id, first, last) in zip(rows, asked, strict=True):
        created = found.get((run_id, first)) if first else None
        final = found.get((run_id, last)) if last else None
        state = found.get((run_id, 0))
        results.append(
            StoredRun(
                row,
                None if created is None else created.payload,
                None if final is None else StoredEvent(*final[1:]),
                None if state is None else state.payload,
            )
        )
    return results
