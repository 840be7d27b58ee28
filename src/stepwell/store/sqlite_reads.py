"""What readers ask. Each function is one snapshot of the database, on a connection that only reads."""

from collections.abc import Sequence

import apsw
import msgspec

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
from stepwell.store.plans import to_json
from stepwell.store.portions import EVENTS_AT_ONCE, stretches
from stepwell.store.retention import Prunable
from stepwell.store.sqlite_connection import Connection
from stepwell.store.sqlite_rows import Question, all_rows
from stepwell.store.statements import statement, statement_in

_POLL = Question("sqlite/poll")
_ROWS = Question("sqlite/find_rows")
_STATUSES = Question("sqlite/statuses")
_HISTORIES = Question("sqlite/histories")
_UNREAD_MAIL = Question("sqlite/unread_mail")

_HISTORY = statement("sqlite/history")
_UNREAD_MAIL_OF = statement("sqlite/unread_mail_of")
_ONE_EVENT = statement("sqlite/one_event")
_LAST_STATE = statement("sqlite/last_state")
_HOOKS_OF = statement("common/hooks_of")
_KEYS = statement("common/keys")
_AUDIT = statement("common/audit")
_BATCH_STATE = statement("common/batch_state")
_LIVE_NODES = statement("common/live_nodes")
_OWNED = statement("common/owned")
_LIST = {name: statement_in("sqlite", name) for name in ("list_runs", "list_tagged", "count_tagged", "count_of_status")}
_MAIL_OF = statement("common/mail_of")
_RETENTION = statement("common/retention")
_EXPIRED = statement("common/expired")
_PRUNABLE = statement("common/prunable")
_COUNT_BY_STATUS = statement("common/count_by_status")
_COUNT_IN_FLIGHT = statement("common/count_in_flight")
_COUNT_CLAIMABLE = statement("sqlite/count_claimable")

_TOO_MUCH_OR_UNREADABLE = (apsw.TooBigError, apsw.SQLError, msgspec.DecodeError, UnicodeDecodeError)
"""What asking for many rows as one JSON list can end in: then they are read one by one."""


def batch_state(connection: Connection, node_id: str) -> BatchState | None:
    """Return what is known of a node's last batch."""
    rows = all_rows(connection, _BATCH_STATE, node_id)
    return BatchState(rows[0][0] == 1, *rows[0][1:]) if rows else None


def poll(
    connection: Connection,
    node_id: str,
    workflows: Sequence[tuple[str, str]],
    *,
    now_ms: int,
    lease_ms: int,
    boot_id: str,
    boot_ms: int,
) -> Poll:
    """Answer a node's combined question."""
    return _POLL.ask(connection, Poll, to_json(list(workflows)), now_ms, lease_ms, node_id, boot_id, boot_ms)


def owned(connection: Connection, node_id: str) -> list[OwnedRun]:
    """Return what a node owns."""
    return [OwnedRun(*row) for row in all_rows(connection, _OWNED, node_id)]


def live_nodes(connection: Connection) -> dict[str, str]:
    """Return the ``info`` of each node that nobody has buried."""
    return dict(all_rows(connection, _LIVE_NODES))


def load(connection: Connection, run_ids: Sequence[str]) -> list[History]:
    """Return these runs, as far as they exist, with their histories and unread mail."""
    rows = _ROWS.ask(connection, list[RunRow], to_json(list(dict.fromkeys(run_ids))))
    events: dict[str, list[StoredEvent]] = {row.run_id: [] for row in rows}
    for stretch in stretches(rows):
        for event in _read_stretch(connection, stretch):
            events[event.run_id].append(StoredEvent(*event[1:]))
    unread = messages(connection, [row.run_id for row in rows if row.mailbox_seq > row.mailbox_consumed])
    return [History(row, events[row.run_id], unread.get(row.run_id, [])) for row in rows]


def messages(connection: Connection, run_ids: Sequence[str]) -> dict[str, list[Message]]:
    """Return the messages that are not transcribed, in order, of the runs that have any."""
    if not run_ids:
        return {}
    try:
        stored = _UNREAD_MAIL.ask(connection, list[MessageRow], to_json(list(run_ids)))
    except _TOO_MUCH_OR_UNREADABLE:
        stored = [
            MessageRow._make((*row[:5], _text(row[5]), row[6]))
            for run_id in run_ids
            for row in all_rows(connection, _UNREAD_MAIL_OF, run_id)
        ]
    found: dict[str, list[Message]] = {}
    for message in stored:
        found.setdefault(message.run_id, []).append(Message(*message[1:]))
    return found


def find_run(connection: Connection, run_id: str) -> StoredRun | None:
    """Return a run with its input and output."""
    rows = _ROWS.ask(connection, list[RunRow], to_json([run_id]))
    return _with_ends(connection, rows[0], with_input=True, with_output=True) if rows else None


def statuses(connection: Connection, run_ids: Sequence[str]) -> dict[str, int]:
    """Return the status of each of these that exists."""
    return dict(_STATUSES.ask(connection, list[tuple[str, int]], to_json(list(run_ids))))


def list_runs(connection: Connection, query: RunQuery) -> list[StoredRun]:
    """Return one page of runs."""
    counted = [connection.execute(_LIST[count.name], count.parameters).get for count in to_count(query)]
    name, where, parameters = listing(query, counted)
    text = f"{_LIST[name]} LIMIT ?".replace("{where}", where)
    found = [RunRow(*row) for row in all_rows(connection, text, *parameters, query.limit)]
    return [_with_ends(connection, run, with_input=query.with_input, with_output=query.with_output) for run in found]


def prunable(connection: Connection, status: int, before_ms: int, after: tuple[int, str], limit: int) -> list[Prunable]:
    """Return runs that may be old enough to be removed."""
    return [Prunable(*row) for row in all_rows(connection, _PRUNABLE, status, before_ms, *after, limit)]


def retention(connection: Connection) -> dict[tuple[str, str], int]:
    """Return how long runs are kept that are not kept for ever."""
    return {(workflow, version): ms for workflow, version, ms in all_rows(connection, _RETENTION)}


def expired(
    connection: Connection, workflow: str, version: str, before_ms: int, after: tuple[int, str], limit: int
) -> list[Prunable]:
    """Return runs of a workflow and version that were over before a time."""
    return [Prunable(*row) for row in all_rows(connection, _EXPIRED, workflow, version, before_ms, *after, limit)]


def events(connection: Connection, run_id: str, after: int, limit: int) -> list[StoredEvent]:
    """Return the events behind number ``after``, at most ``limit``."""
    found: list[StoredEvent] = []
    for start in range(after, after + limit, EVENTS_AT_ONCE):
        end = min(start + EVENTS_AT_ONCE, after + limit)
        page = [StoredEvent(*event[1:]) for event in _read_stretch(connection, [(run_id, start, end)])]
        found += page
        if len(page) < end - start:
            break
    return found


def mail(connection: Connection, run_id: str, after: int, limit: int) -> list[Message]:
    """Return the messages behind a number, transcribed or not."""
    return [Message(*row) for row in all_rows(connection, _MAIL_OF, run_id, after, limit)]


def hooks(connection: Connection, run_id: str) -> list[HookRow]:
    """Return the hooks of a run."""
    return [HookRow(*row) for row in all_rows(connection, _HOOKS_OF, run_id)]


def keys(connection: Connection) -> list[KeyRow]:
    """Return the keys of servers."""
    return [KeyRow(*row) for row in all_rows(connection, _KEYS)]


def audit(connection: Connection, after: str, limit: int) -> list[AuditRow]:
    """Return a part of the audit log."""
    return [AuditRow(*row) for row in all_rows(connection, _AUDIT, after, limit)]


def count_by_status(connection: Connection) -> dict[int, int]:
    """Count runs by status."""
    return dict(all_rows(connection, _COUNT_BY_STATUS))


def in_flight(connection: Connection) -> list[tuple[str, str, int, int]]:
    """Count runs that are not over, by workflow, version and status."""
    return all_rows(connection, _COUNT_IN_FLIGHT)


def queue_depth(connection: Connection, now_ms: int, most: int) -> int:
    """Count runs that are claimable."""
    count: int = connection.execute(_COUNT_CLAIMABLE, (most, now_ms)).get
    return count


def _with_ends(connection: Connection, row: RunRow, *, with_input: bool, with_output: bool) -> StoredRun:
    created = _event(connection, row.run_id, 1) if with_input else None
    # Without an output to carry, how a run ended is small: its error, or why it was cancelled.
    has_end = row.status >= OVER_FROM and (with_output or row.status != COMPLETED)
    final = _event(connection, row.run_id, row.seq) if has_end else None
    state = all_rows(connection, _LAST_STATE, row.run_id)
    return StoredRun(row, None if created is None else created.payload, final, _text(state[0][0]) if state else None)


def _event(connection: Connection, run_id: str, seq: int) -> StoredEvent | None:
    rows = all_rows(connection, _ONE_EVENT, run_id, seq)
    return StoredEvent._make((*rows[0][:4], _text(rows[0][4]), rows[0][5])) if rows else None


def _read_stretch(connection: Connection, stretch: Sequence[tuple[str, int, int]]) -> list[EventRow]:
    try:
        return _HISTORIES.ask(connection, list[EventRow], to_json(stretch))
    except _TOO_MUCH_OR_UNREADABLE:
        rows = [row for part in stretch for row in all_rows(connection, _HISTORY, *part)]
        return [EventRow._make((*row[:5], _text(row[5]), row[6])) for row in rows]


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        # Edited by hand, or damaged. What is returned must not pass for JSON: nobody may go on with half a value.
        return "\ufffd" + payload.decode(errors="replace")
