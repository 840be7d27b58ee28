"""The one thread that writes: batches, leases, and the rows of nodes.

Before a transaction begins it takes the lock beside the file, because SQLite's own way of waiting starves all writers but one.
Between commits it looks after what must go on even while the event loop is blocked: the lease is renewed, changes by other
processes are noticed, the log is moved into the database.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import apsw

from stepwell.clock import Clock, boot_id
from stepwell.errors import FencedError, StepwellError
from stepwell.failpoints import counters, failpoint
from stepwell.settings import Settings
from stepwell.store.base import OVER_FROM, Batch, Committed, NotApplied, OutcomeUnknown, StoredRun
from stepwell.store.batch import BatchExecution
from stepwell.store.drafts import Draft, Page
from stepwell.store.locks import LockFile, NodeLocks
from stepwell.store.migrate import migrate
from stepwell.store.sqlite_connection import Connection, close_like_death, connect_writer, create_file, refuse_foreign
from stepwell.store.sqlite_errors import not_committed, not_readable
from stepwell.store.sqlite_reads import find_run
from stepwell.store.sqlite_rows import carry_out
from stepwell.store.statements import statement

T = TypeVar("T")

_BEGIN_BATCH = statement("common/begin_batch")
_KEEP_ALIVE = statement("common/keep_alive")
_ENROL = statement("common/enrol")
_RETIRE = statement("common/retire")
_DESCRIBE = statement("common/describe")
_SIGNATURE = statement("common/signature_of_others")

_CHECKPOINT_PAGES: Final = 4_000
"""16 MB of log."""

_LONG_LOG_PAGES: Final = 16_000
"""64 MB: more than a log grows to unless a reader keeps it from being moved into the database."""

_RENEWALS_A_LEASE: Final = 3

_log = logging.getLogger(__name__)


class Ticket:
    """Decides between a writer that may begin and a caller that waits no longer: the first to ask wins."""

    def __init__(self) -> None:
        self._taken = threading.Lock()

    def take(self) -> bool:
        """Ask; True only for the first."""
        return self._taken.acquire(blocking=False)


class _Lease(NamedTuple):
    node_id: str
    length_ms: int
    renew_at_ms: int


class SqliteWriter:
    """Writes to one file, or to a database in memory (``path`` is None). One thread makes all the calls."""

    def __init__(self, path: Path | None, *, clock: Clock, settings: Settings) -> None:
        self.name: Final = "memory://" if path is None else str(path)
        self.boot_id = ""
        self.lease_until_boot_ms = 0
        self.generation = 0
        """Rises when a commit has failed in a way that leaves nothing to trust: every connection is opened again then."""
        self.changed: Callable[[], None] | None = None
        """Called after another process has committed something that is more than a renewal."""
        self.nodes: NodeLocks | None = None
        self._path = path
        self._clock = clock
        self._settings = settings
        self._lock: LockFile | None = None
        self._connection: Connection | None = None
        self._lease: _Lease | None = None
        self._own_node = ""
        self._owned: dict[str, Draft] = {}
        self._owned_version = 0
        self._log_pages = 0
        self._checkpoint_at = _CHECKPOINT_PAGES
        self._seen: tuple[int, str] | None = None
        self._look_at_ms = 0

    def open(self, ticket: Ticket) -> None:
        """Create the file if need be, refuse it if it is not ours, and bring it up to this code."""
        try:
            self.boot_id = boot_id()
            if self._path is not None:
                # Two names of one file must lead to one lock beside it.
                self._path = self._path.resolve()
                create_file(self._path)
                self._lock = LockFile(self._path.with_name(self._path.name + ".writer"))
                self.nodes = NodeLocks(self._path.with_name(self._path.name + ".nodes"))
            self._acquire(ticket)
            try:
                if self._path is not None:
                    refuse_foreign(self._path)
                migrate(self.connection, self._clock, self.name)
            finally:
                self._release()
        except Exception as error:
            self.close()
            known = not_readable(error, self.name)
            if known is None:
                raise
            raise known from error

    def close(self) -> None:
        """Close everything, and let go of all locks."""
        if self._connection is not None:
            self._connection.close(True)
            self._connection = None
        self._close_locks()
        self.changed = None
        self._lease = None
        self.lease_until_boot_ms = 0
        self._owned.clear()

    def abandon(self) -> None:
        """Leave everything as the death of the process would."""
        if self._connection is not None:
            close_like_death(self._connection)
            self._connection = None
        self._close_locks()

    @property
    def path(self) -> Path:
        """Where the file is. There is none for a database in memory."""
        assert self._path is not None
        return self._path

    @property
    def connection(self) -> Connection:
        """The connection that writes, opened if need be."""
        if self._connection is None:
            self._connection = connect_writer(self._path)
            self._connection.set_wal_hook(self._committed)
        return self._connection

    def commit(self, batch: Batch, ticket: Ticket) -> Committed:
        """Commit a batch under its node's identity."""
        boot_ms = 0
        execution: BatchExecution | None = None

        def execute(connection: Connection) -> Committed:
            nonlocal boot_ms, execution
            boot_ms = self._clock.boot_ms()
            until = None if batch.lease_ms is None else boot_ms + batch.lease_ms
            connection.execute(_BEGIN_BATCH, (batch.batch_id, until, self.boot_id, batch.node_id, batch.number))
            if connection.changes() != 1:
                counters["store.fenced"] += 1
                raise FencedError(f"node {batch.node_id} is not alive, or not at batch {batch.number}")
            failpoint("commit.before_write")
            if not batch.operations:
                return Committed([])
            page = Page(
                node_id=batch.node_id, now_ms=self._clock.now_ms(), messages_max=self._settings.messages_max,
                record_bytes_max=self._settings.payload_bytes_max,
            )  # fmt: skip
            execution = BatchExecution(page, self._unchanged(connection))
            results = carry_out(execution.apply(batch.operations), connection)
            # Before the sync and not after it, when all that SQLite needs for it has left the processor's caches.
            shown = self._show(connection, batch.awaited)
            return Committed(results, page.mailed, page.ended_besides, execution.collections, shown)

        try:
            committed = self._transact(execute, ticket)
        except Exception:
            self._owned.clear()
            raise
        self._keep(batch.node_id, batch.lease_ms, boot_ms)
        if execution is not None:
            execution.remember()
            if self.nodes is not None:
                for node_id in execution.forgotten:
                    self.nodes.drop(node_id)
        return committed

    def _show(self, connection: Connection, awaited: Sequence[str]) -> list[StoredRun]:
        """Return those of these runs that are over."""
        try:
            found = [find_run(connection, run_id) for run_id in awaited]
        except (apsw.Error, StepwellError):
            return []  # whoever waits asks again
        return [stored for stored in found if stored is not None and stored.row.status >= OVER_FROM]

    def _unchanged(self, connection: Connection) -> dict[str, Draft]:
        # SQLite says whether another connection has committed since. Without that nobody can have touched our runs.
        version = connection.execute("PRAGMA data_version").get
        if version != self._owned_version:
            self._owned.clear()
            self._owned_version = version
        return self._owned

    def enrol(self, node_id: str, info: str, ticket: Ticket) -> None:
        """Insert a live node; its lock file is held from before."""
        if self.nodes is not None:
            self.nodes.hold(node_id)
        try:
            self._change(_ENROL, (node_id, self.boot_id, info), ticket)
        except NotApplied:
            if self.nodes is not None:
                self.nodes.drop(node_id)
            raise
        self._own_node = node_id

    def retire(self, node_id: str, ticket: Ticket) -> None:
        """Remove a node and its lock file."""
        if self._lease is not None and self._lease.node_id == node_id:
            self._lease = None
            self.lease_until_boot_ms = 0
        self._change(_RETIRE, (node_id,), ticket)
        if self.nodes is not None:
            self.nodes.drop(node_id)

    def describe(self, node_id: str, info: str, ticket: Ticket) -> None:
        """Replace what a node says about itself."""
        self._change(_DESCRIBE, (info, node_id), ticket)

    def rest(self, is_idle: bool) -> float | None:
        """Do what is to be done between commits; return how many seconds there is nothing more to do, None for ever."""
        now_ms = self._clock.boot_ms()
        wait_ms: list[int] = []
        if self._connection is not None and self._log_pages >= self._checkpoint_at:
            self._checkpoint(self._connection)
        if self._lease is not None and now_ms >= self._lease.renew_at_ms:
            self._renew(self._lease)
        if self._lease is not None:
            wait_ms.append(self._lease.renew_at_ms - now_ms)
        if self.changed is not None and self._path is not None:
            if is_idle or now_ms >= self._look_at_ms:
                self._look_at_ms = now_ms + self._settings.watch_ms
                self._look(self.changed)
            wait_ms.append(self._settings.watch_ms)
        return max(1, min(wait_ms)) / 1000 if wait_ms else None

    def _transact(self, body: Callable[[Connection], T], ticket: Ticket | None = None, stage: str = "commit") -> T:
        """Do something in a transaction of its own. The failpoints in it are called after ``stage``."""
        # Not with `finally`: what is no Exception plays the death of this process, which releases and rolls back nothing.
        self._acquire(ticket)
        try:
            result = self._commit(body, stage)
        except Exception:
            self._release()
            raise
        self._release()
        return result

    def _commit(self, body: Callable[[Connection], T], stage: str) -> T:
        try:
            failpoint(f"{stage}.before_begin")
            connection = self.connection
            connection.execute("BEGIN IMMEDIATE")
            result = body(connection)
            failpoint(f"{stage}.before_commit")
        except Exception as error:
            self._roll_back()
            raise self._known(error) from error
        try:
            connection.execute("COMMIT")
        except (apsw.FullError, apsw.BusyError) as error:
            # The record of the commit is what there was no room for.
            self._roll_back()
            raise self._known(error) from error
        except Exception as error:
            raise self._unknown(error) from error
        try:
            failpoint(f"{stage}.after_commit")
        except Exception as error:
            raise self._unknown(error) from error
        return result

    def _known(self, error: Exception) -> Exception:
        known = not_committed(error)
        if known is None:
            return error
        counters[f"store.{known.code}"] += 1
        return known

    def _unknown(self, error: Exception) -> StepwellError:
        counters["store.outcome_unknown"] += 1
        self._drop_connection()
        return OutcomeUnknown(f"it is not known whether the last commit reached the disk ({error})")

    def _roll_back(self) -> None:
        if self._connection is None or not self._connection.in_transaction:
            return
        try:
            self._connection.execute("ROLLBACK")
        except apsw.Error:
            self._drop_connection()

    def _drop_connection(self) -> None:
        """After a failed sync what SQLite remembers of the file need not be what is on the disk."""
        if self._path is None or self._connection is None:
            return
        self.generation += 1
        self._owned_version = 0
        connection, self._connection = self._connection, None
        try:
            connection.close(True)
        except apsw.Error:
            counters["store.close_failed"] += 1

    def _change(self, text: str, parameters: tuple[str, ...], ticket: Ticket) -> None:
        self._transact(lambda connection: connection.execute(text, parameters), ticket)

    def _acquire(self, ticket: Ticket | None) -> None:
        if self._lock is not None:
            try:
                self._lock.acquire()
            except OSError as error:
                raise NotApplied(f"the lock beside the file cannot be taken ({error})") from error
        if ticket is not None and not ticket.take():
            self._release()
            raise NotApplied("nobody waits for this any more")

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _close_locks(self) -> None:
        if self._lock is not None:
            self._lock.close()
        if self.nodes is not None:
            self.nodes.close()

    def _keep(self, node_id: str, lease_ms: int | None, boot_ms: int) -> None:
        if lease_ms is None:
            self._lease = None
            self.lease_until_boot_ms = 0
        else:
            self._lease = _Lease(node_id, lease_ms, boot_ms + lease_ms // _RENEWALS_A_LEASE)
            self.lease_until_boot_ms = boot_ms + lease_ms

    def _renew(self, lease: _Lease) -> None:
        boot_ms = self._clock.boot_ms()

        def renew(connection: Connection) -> bool:
            connection.execute(_KEEP_ALIVE, (boot_ms + lease.length_ms, self.boot_id, lease.node_id))
            return connection.changes() == 1

        try:
            is_alive = self._transact(renew, stage="renew")
        except StepwellError:
            # Soon again: a node without a lease is buried by the others.
            self._lease = lease._replace(renew_at_ms=boot_ms + lease.length_ms // 20)
            return
        counters["store.renewed"] += 1
        self._keep(lease.node_id, lease.length_ms if is_alive else None, boot_ms)

    def _look(self, changed: Callable[[], None]) -> None:
        # On the connection that writes, the number moves with the commits of all others and never with its own.
        try:
            version = self.connection.execute("PRAGMA data_version").get
            if self._seen is not None and version == self._seen[0]:
                return
            signature = self.connection.execute(_SIGNATURE, (self._own_node,)).get
        except (apsw.Error, StepwellError):
            return
        before, self._seen = self._seen, (version, signature)
        if before is not None and before[1] != signature:
            changed()

    def _committed(self, connection: object, database: str, pages: int) -> int:
        if pages < self._log_pages:
            self._checkpoint_at = _CHECKPOINT_PAGES
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self, connection: Connection) -> None:
        self._checkpoint_at = self._log_pages + _CHECKPOINT_PAGES
        try:
            pages, moved = connection.wal_checkpoint(None, apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error:
            counters["store.checkpoint_failed"] += 1
            return
        if pages > _LONG_LOG_PAGES and moved < pages:
            counters["store.log_held_back"] += 1
            _log.warning("somebody has been reading %s for long: its log has grown to %d MB", self.name, pages * 4096 >> 20)
