"""The Store, and the operations that a batch is made of.

Every change of state is an operation in a ``Batch``, and a batch is committed as one transaction. One operation that is refused
does not spoil its neighbours: each has an outcome of its own, at the same place in the list. The rules behind the guards are
told in ARCHITECTURE.md. Nothing here knows a database.

Statuses are small ints in the store: the index into ``model.STATUSES``; from ``OVER_FROM`` on a run is over.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from stepwell.errors import StepwellError
from stepwell.model import STATUSES
from stepwell.progress import Message, NewEvent, Outcome, Progress, StoredEvent
from stepwell.store.access import AuditRow, KeepKey, KeepTicket, KeyRow, Note, TakeTicket, TouchKey
from stepwell.store.hints import Hint
from stepwell.store.records import RecordOperation, RecordReads, RecordResult
from stepwell.store.retention import KeepFor, Prunable, Prune, Sweep, Swept

PENDING: Final = STATUSES.index("pending")
RUNNING: Final = STATUSES.index("running")
PAUSED: Final = STATUSES.index("paused")
COMPLETED: Final = STATUSES.index("completed")
FAILED: Final = STATUSES.index("failed")
CANCELLED: Final = STATUSES.index("cancelled")
OVER_FROM: Final = COMPLETED
TOMBSTONE: Final = len(STATUSES)
"""A run that is being removed: no reader sees it, and its id and key are still taken. Statements write it as 6."""


class RunRow(NamedTuple):
    """One row of ``runs``, in the order of its columns. Times are ms since 1970 UTC."""

    run_id: str
    workflow: str
    version: str
    """"" for none."""
    status: int
    owner: str | None
    turn: int
    attempt: int
    interruptions: int
    """How often its worker was lost while it executed, ever."""
    streak: int
    """The same, since the last outcome of a step was recorded."""
    tries: int
    """How often in a row its code did not fit its history."""
    priority: int
    rank: int
    """Where it stands in the queue of new runs: due time less a minute for each step of priority. The least goes first."""
    wanted: int
    """What was asked for and the owner has not done yet, as bits: 1 cancel, 2 pause, 4 fail. Cancel and fail stay when they are
    done: compensations have run."""
    undo: int
    """How many completed steps have a compensation."""
    seq: int
    mailbox_seq: int
    mailbox_consumed: int
    wake_at: int | None
    """When the run is due, while nobody owns it. A message to a waiting run makes it now."""
    deadline: int | None
    """When ``execution_timeout`` is over; set at the first start."""
    timeout_ms: int | None
    waiting_for: str | None
    """JSON: ``{kind, name, until (ms), others}``."""
    max_events: int
    tags: str
    """A JSON list."""
    parent_run_id: str | None
    idempotency_key: str | None
    created_at: int
    started_at: int | None
    completed_at: int | None
    updated_at: int


class NewRun(msgspec.Struct, kw_only=True):
    """A trigger, checked and ready to be stored.

    The store writes ``run_created`` (its payload is the JSON text ``created``, which holds the input under ``"input"``) and, if
    ``claim``, ``run_started`` in the same commit, and then the run belongs to this node with turn 1. ``claim`` is ignored for a
    run that is not due.

    Outcome: ``Triggered``.
    """

    run_id: str
    workflow: str
    version: str
    input_hash: str
    """Of the canonical input; the store keeps it beside the run and beside the key, to compare."""
    idempotency_key: str | None
    parent_run_id: str | None
    tags: str
    priority: int
    at_ms: int
    due_ms: int
    max_events: int
    timeout_ms: int | None
    created: str
    claim: bool
    signal: "Put | None" = None
    """Put into the mailbox of the run, be it new or there already (unless it is over)."""
    share: "Share | None" = None
    """The run is a fork: it begins with the events of another. ``claim`` is False then."""


class Triggered(NamedTuple):
    """What became of a trigger.

    ``reason`` is ``"created"``; ``"same"`` (the run that already has this id or key, with equal workflow and input; ``row`` is
    that run); ``"id_taken"``, ``"key_taken"`` (with other input or workflow), ``"id_and_key_differ"``; ``"no_parent"``,
    ``"parent_over"``; ``"pruned"`` (the id or the key is that of a run which is being removed); with a signal, ``"over"`` or
    ``"full"`` for a run that was there and takes no message; of a fork, ``"no_source"``, or ``"limit"`` (what it shares leaves it
    no room to go on).
    Only with ``"created"`` and ``"same"`` was anything stored.
    """

    reason: str
    row: RunRow | None
    claimed: bool = False


class Put(msgspec.Struct, kw_only=True):
    """A message for a run's mailbox. Outcome: ``Stored``."""

    run_id: str
    kind: Literal["signal", "hook", "run", "cancel", "fail", "pause", "limits"]
    name: str
    message_id: str
    payload: str
    at_ms: int


class Stored(NamedTuple):
    """What became of a message or an event from outside.

    ``reason`` is ``"stored"``, ``"duplicate"`` (this id was stored before; nothing more happened), ``"missing"`` (no such run),
    ``"over"``, ``"full"`` (too many messages wait) or ``"limit"`` (an event would become number ``max_events``).
    ``seq`` is the ``mailbox_seq`` or the event's ``seq``; ``owner`` the run's, after the commit.
    """

    reason: str
    seq: int = 0
    owner: str | None = None


class Emit(msgspec.Struct, kw_only=True):
    """A user's event, appended by whichever node is asked. A ``seq`` moved by it is no loss to the owner. Outcome: ``Stored``.

    It is stored with the event id as its ``step_id``, prefixed with ``event:``, by which a repetition is known.
    """

    run_id: str
    event_type: str
    event_id: str
    payload: str
    at_ms: int


class Cancel(msgspec.Struct, kw_only=True):
    """End a run as cancelled. Without compensations (``undo = 0``) it is over in this commit, whoever owns it: the final event
    is written, the owner cleared and ``turn`` raised, which fences the owner for this run. Else ``wanted`` is set, and a message
    put for the owner, who runs them and writes the final event; nobody's, the run is due. Outcome: ``Cancelled``.
    """

    run_id: str
    reason: str | None
    payload: str
    at_ms: int
    children: bool = True
    """Whether children that the run waits for are cancelled too, and theirs."""


class Cancelled(NamedTuple):
    """``reason`` is ``"cancelled"``, ``"asked"`` (its compensations are to run first), ``"undoing"`` (they run already, whatever
    for), ``"over"`` (it had ended before) or ``"missing"``; ``owner`` is who held it until now."""

    reason: str
    owner: str | None = None


class Resume(msgspec.Struct, kw_only=True):
    """Let a paused run go on. Outcome: ``Stored`` with reason ``stored``, ``missing`` or ``not_paused``."""

    run_id: str
    payload: str
    at_ms: int


class Pause(msgspec.Struct, kw_only=True):
    """Let a run rest until it is resumed. Unowned: at once. Owned: ``wanted`` is set and a message put; bodies under way finish,
    and the run is paused when its owner lets go of it, however that comes. Outcome: ``Stored`` with reason ``stored`` (also for
    one that is paused already), ``missing`` or ``over``.
    """

    run_id: str
    reason: str
    at_ms: int


class Retry(msgspec.Struct, kw_only=True):
    """Let a failed run go on, in the same history. ``seq`` is where its history ended when ``payload`` was made, which names the
    outcomes that count no more. Outcome: ``Stored`` with reason ``stored``, ``missing``, ``not_failed``,
    ``compensated``, ``moved`` or ``limit``.
    """

    run_id: str
    seq: int
    payload: str
    at_ms: int
    along: Sequence["Retry"] = ()
    """Of the runs whose failure was this one's, in the same commit; those that cannot be retried are left as they are."""

    def run_ids(self) -> list[str]:
        return [self.run_id, *(run_id for other in self.along for run_id in other.run_ids())]


class Amend(msgspec.Struct, kw_only=True):
    """Append an event to the history of a paused run that stands at ``seq``. Outcome: ``Stored`` with reason ``stored``,
    ``missing``, ``not_paused``, ``moved`` or ``limit``.
    """

    run_id: str
    seq: int
    event: NewEvent


class Update(msgspec.Struct, kw_only=True):
    """Change a run's tags, priority or limits; None leaves what there is. Who owns it is told of new limits. Outcome: ``Stored``
    with reason ``stored``, ``missing``, ``limit`` (its history is as long as ``max_events`` already), and, but for tags,
    ``over`` or ``undoing``.
    """

    run_id: str
    tags: str | None
    priority: int | None
    max_events: int | None
    timeout_ms: int | None
    at_ms: int


class HookRow(NamedTuple):
    """One row of ``hooks``, in the order of its columns. Payload and answer are JSON texts."""

    run_id: str
    hook_id: str
    seq: int
    """Of its ``hook_created``."""
    name: str
    action: str
    payload: str
    expires: int | None
    created_at: int
    answer_id: str | None = None
    answer: str | None = None
    answered_at: int | None = None


class Share(msgspec.Struct, kw_only=True):
    """What a fork has of another run: its events up to number ``seq``, and what stands for that which was open there."""

    source_run_id: str
    seq: int
    rewritten: Sequence[StoredEvent]
    """What the fork has instead of the source's own, in order; the first event is among them."""
    forked: str
    """The payload of ``run_forked``, which comes next."""
    mailbox_seq: int
    """The number of the last message that these events transcribe. The fork's own are numbered from there."""
    undo: int
    hooks: Sequence[HookRow]


class MakeHook(msgspec.Struct, kw_only=True):
    """Make a hook, and append ``hook_created`` with the payload ``said``. Outcome: ``Hooked`` with reason ``created``, ``same``
    (it is there: what was asked first stands), ``missing``, ``over`` or ``limit``.
    """

    run_id: str
    hook_id: str
    name: str
    action: str
    payload: str
    expires_ms: int
    said: str
    at_ms: int


class AnswerHook(msgspec.Struct, kw_only=True):
    """Answer a hook: its run is put a message of kind ``hook``, whose name is the hook's id. Outcome: ``Hooked`` with reason
    ``stored`` (also for an ``answer_id`` that was stored before), ``answered``, ``missing``, ``over`` or ``expired``.
    """

    run_id: str
    hook_id: str
    answer_id: str
    payload: str
    at_ms: int


class Hooked(NamedTuple):
    """What became of a hook, and the hook as it is now."""

    reason: str
    hook: HookRow | None


class Claim(msgspec.Struct, kw_only=True):
    """Take due runs for this node: woken and freed ones first, then new ones by rank; fair between workflows.

    New runs become running in this commit: ``started_at``, ``deadline`` and the event ``run_started`` (payload
    ``{"attempt": n}``) are written. ``turn`` rises. Of runs with ``streak >= alone_from`` at most ``alone_max`` are taken.
    Outcome: ``Claimed``.
    """

    workflows: Sequence[tuple[str, str]]
    """``(name, version)`` of what this node's workers know."""
    limit: int
    alone_from: int
    alone_max: int
    at_ms: int


class Claimed(NamedTuple):
    """The rows as they are after the claim, and whether more was due than was taken."""

    rows: list[RunRow]
    more: bool
    passed_over: bool = False
    """Whether there were others that somebody had locked: they may be there a moment later."""


class Bury(msgspec.Struct, kw_only=True):
    """Mark nodes dead: those named, and those whose lease is over. Outcome: ``int``, how many were alive until now.

    A lease counts only on the boot that it was taken on: one from another boot is over. A node without a lease is buried only
    by name.
    """

    known_dead: Sequence[str]
    boot_ms: int
    boot_id: str


class Free(msgspec.Struct, kw_only=True):
    """Take runs from owners that are not alive (dead, or without a row), some at a time, those first that somebody can take.

    Each freed run: owner cleared, ``turn`` raised, due now. One that was executing (its ``waiting_for`` is NULL) has
    ``interruptions`` and ``streak`` raised; at ``streak >= pause_at`` it is paused with the event ``run_paused``, whose payload
    names the last step. A dead node's row is deleted once no run names it. Outcome: ``Freed``.
    """

    limit: int
    workflows: Sequence[tuple[str, str]]
    pause_at: int
    at_ms: int


class Freed(NamedTuple):
    """``run_ids`` of the freed runs, ``paused`` among them; ``more`` if some are left."""

    run_ids: list[str]
    paused: list[str]
    more: bool


class Expire(msgspec.Struct, kw_only=True):
    """Fail runs whose deadline has passed: unowned and paused ones at once, owned ones if it passed ``owned_after_ms`` ago.

    The event is ``run_failed`` with an ``ExecutionTimeoutError``. Owner cleared, ``turn`` raised. A run with compensations is not
    over yet: it is due, for these. Outcome: ``list[str]``, the ids of all.
    """

    limit: int
    owned_after_ms: int
    at_ms: int


Operation: TypeAlias = (
    NewRun
    | Put
    | Emit
    | Cancel
    | Pause
    | Resume
    | Retry
    | Amend
    | Update
    | MakeHook
    | AnswerHook
    | Claim
    | Bury
    | Free
    | Expire
    | KeepFor
    | Prune
    | Sweep
    | KeepKey
    | TouchKey
    | KeepTicket
    | TakeTicket
    | Note
    | Progress
    | RecordOperation
)
Result: TypeAlias = Triggered | Stored | Hooked | Cancelled | Claimed | Freed | Swept | int | list[str] | Outcome | RecordResult


class StoredRun(NamedTuple):
    """A run as readers see it: its row, and of its events the first and the last where they were asked for."""

    row: RunRow
    created: str | None
    """The payload of ``run_created``."""
    final: StoredEvent | None
    """The final event of a run that is over."""
    state: str | None = None
    """The payload of its last ``state_set``."""


class Committed(NamedTuple):
    """What became of a batch: the outcome of each operation, and what it did to runs that none of them names.

    ``mailed`` are runs that were sent a message, ``ended`` runs that were ended along with others, ``collections`` those whose
    records were written. ``shown`` are runs of the batch's ``awaited`` as they ended: a store that has them at hand spares who
    waits for them a question.
    """

    results: list[Result]
    mailed: Sequence[str] = ()
    ended: Sequence[str] = ()
    collections: Sequence[str] = ()
    shown: Sequence[StoredRun] = ()


class Batch(msgspec.Struct, kw_only=True):
    """Operations to be committed as one transaction, under the identity of one node.

    The first statement raises the node's ``batch`` from ``number`` to ``number + 1``, stores ``batch_id``, and renews the lease
    if ``lease_ms`` is given (None: a node without lease). An empty batch is a renewal.
    """

    node_id: str
    number: int
    batch_id: str
    lease_ms: int | None
    operations: list[Operation]
    awaited: Sequence[str] = ()
    """Runs that may end by this, and whose end somebody waits for."""
    is_followed: Callable[[], bool] = lambda: False
    """Asked once it is committed: whether another batch will come at once."""


class BatchState(NamedTuple):
    """A node's row: what is known of its last batch."""

    alive: bool
    number: int
    batch_id: str


class Poll(NamedTuple):
    """The answer to a node's combined question."""

    alive: bool
    """Whether the asking node is alive."""
    due: bool
    """Whether something can be claimed now."""
    next_due_ms: int | None
    """When something will be claimable, or have its deadline pass, at the earliest; the deadline of an owned run counts a lease
    later. In the past if a deadline waits for ``Expire``."""
    mailed: list[str]
    """Runs of this node with messages that are not transcribed."""
    orphans: bool
    """Whether a node's lease is over, a run names an owner that is not alive, or a dead node's row is left: what ``Bury`` and
    ``Free`` are for."""


class OwnedRun(NamedTuple):
    """What the store says this node owns."""

    run_id: str
    turn: int


class History(NamedTuple):
    """A run as an executor needs it."""

    row: RunRow
    events: list[StoredEvent]
    messages: list[Message]


class RunQuery(msgspec.Struct, kw_only=True):
    """Which runs to list, newest first. ``before`` is the ``(created_at, run_id)`` of the last one seen."""

    workflow: str | None = None
    status: int | None = None
    parent_run_id: str | None = None
    tags: Sequence[str] = ()
    """All of them must be there."""
    created_after: int | None = None
    created_before: int | None = None
    before: tuple[int, str] | None = None
    limit: int = 20
    with_input: bool = False
    with_output: bool = False


COUNTED_MAX: Final = 2**53
"""A count that ends nowhere ends here."""


class NotApplied(StepwellError):
    """The batch was not committed, and may be tried again: the store is busy, full, or cannot be reached. The text says why."""

    code = "store_not_applied"


class DataRefused(StepwellError):
    """Something in the batch can never be committed. Nothing of it was; half it to find out what."""

    code = "store_data_refused"


class OutcomeUnknown(StepwellError):
    """The commit was under way when contact was lost. Compare ``batch_state`` with the batch."""

    code = "store_outcome_unknown"


class RunReads(Protocol):
    """What runs and their histories are read by."""

    async def find_run(self, run_id: str) -> StoredRun | None:
        """With input and output."""
        ...

    async def list_runs(self, query: RunQuery) -> list[StoredRun]: ...

    async def events(self, run_id: str, after: int, limit: int) -> list[StoredEvent]: ...


class Snapshot(RunReads, Protocol):
    """A store as it was at one moment. What others commit meanwhile is not in it."""

    async def mail(self, run_id: str, after: int, limit: int) -> list[Message]:
        """Messages behind a number, transcribed or not, in order."""
        ...


class Store(RunReads, RecordReads, Protocol):
    """A durable store. Calls are made from one event loop; results of reads are snapshots.

    Errors: ``NotApplied``, ``DataRefused``, ``OutcomeUnknown`` and ``FencedError`` (the node is not alive, or its ``number`` is
    not the one in its row: nothing of the batch was done) from ``commit``; ``UnavailableError`` or ``CorruptStoreError`` from
    ``open``; ``UnavailableError`` from reads.
    """

    name: str
    """For people: the file, or the address without its password."""

    @property
    def about(self) -> str:
        """For people: which database it is, and what it lacks. Known once it is open."""
        ...

    questions: int
    """How many questions polling has put to the store so far."""

    @property
    def lease_until_boot_ms(self) -> int:
        """The end of the lease last known to be stored, by ``Clock.boot_ms``; 0 for none.

        The store renews it by itself when a third of it has passed without a commit, whatever the event loop does. An empty batch
        does it too, but counts as news to other processes.
        """
        ...

    async def open(self) -> None:
        """Open, create or migrate. A database newer than the code is refused."""
        ...

    async def close(self) -> None: ...

    def now_ms(self) -> int:
        """The store's clock, or the best estimate of it."""
        ...

    def local_ms(self, when_ms: int) -> int:
        """What ``Clock.now_ms`` shows on this machine when the store's clock shows ``when_ms``, as well as it is known."""
        ...

    async def enrol(self, node_id: str, info: str) -> None:
        """Insert a live node without a lease, batch 0. On SQLite its lock file is held from before until ``retire``."""
        ...

    async def retire(self, node_id: str) -> None:
        """A clean stop: the node, which owns nothing any more, is gone."""
        ...

    async def commit(self, batch: Batch) -> Committed: ...

    async def batch_state(self, node_id: str) -> BatchState | None: ...

    async def describe(self, node_id: str, info: str) -> None:
        """Replace the node's ``info``: JSON ``{pid, host, workflows: [[name, version], ...]}``."""
        ...

    async def poll(self, node_id: str, workflows: Sequence[tuple[str, str]]) -> Poll: ...

    async def owned(self, node_id: str) -> list[OwnedRun]: ...

    async def dead_nodes(self) -> list[str]:
        """Ids of nodes whose process is known to be gone (SQLite: whose lock file could be taken), buried or not.

        Never this process's. It costs no question.
        """
        ...

    def watch(self, changed: Callable[[Hint], None]) -> None:
        """Call ``changed`` on the loop soon after another process has committed. It may come for nothing, late, or not at all."""
        ...

    async def load(self, run_ids: Sequence[str]) -> list[History]: ...

    async def messages(self, run_ids: Sequence[str]) -> dict[str, list[Message]]:
        """Messages that are not transcribed, in order."""
        ...

    async def statuses(self, run_ids: Sequence[str]) -> dict[str, int]:
        """The status of each of these that exists."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """Keep a moment. For as long as that lasts the database cannot tidy up behind those who write."""
        ...

    async def retention(self) -> dict[tuple[str, str], int]:
        """How many ms runs are kept that are not kept for ever, by workflow and version, as far as their workers have said it."""
        ...

    async def expired(self, workflow: str, version: str, before_ms: int, after: tuple[int, str], limit: int) -> list[Prunable]:
        """Runs of a workflow and version that were over before a time, in the order of ``(completed_at, run_id)``, behind one."""
        ...

    async def prunable(self, status: int, before_ms: int, after: tuple[int, str], limit: int) -> list[Prunable]:
        """Runs of a status that were made before a time, oldest first, behind ``(created_at, run_id)``."""
        ...

    async def hooks(self, run_id: str) -> list[HookRow]:
        """The hooks of a run, in the order in which they were made."""
        ...

    async def knows_worker(self, workflow: str, version: str) -> bool:
        """Whether a live node's ``info`` names this workflow and version."""
        ...

    async def live_nodes(self) -> dict[str, str]:
        """The ``info`` of each node that is alive, by its id."""
        ...

    async def count_by_status(self) -> dict[int, int]:
        """How many runs there are, by index of status. It looks at each of them."""
        ...

    async def in_flight(self) -> list[tuple[str, str, int, int]]:
        """How many runs are not over: workflow, version, status and count."""
        ...

    async def queue_depth(self, most: int) -> int:
        """How many runs are claimable; counting ends at ``most``."""
        ...

    async def keys(self) -> list[KeyRow]:
        """All keys of servers, revoked ones too."""
        ...

    async def audit(self, after: str, limit: int) -> list[AuditRow]:
        """The audit log in order, behind the entry ``after``; "" for the beginning."""
        ...

    async def check(self) -> list[str]:
        """Verify every structural invariant; return what is wrong, a sentence each."""
        ...
