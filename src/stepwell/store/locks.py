"""Locks on files, by which the kernel says whether a process lives.

A lock belongs to an open descriptor. It goes when the process dies, however it dies, and never before. Descriptors are not
inherited by programs that the process starts, and a forked child closes its copies: closing leaves the parent's lock alone,
unlocking would not.
"""

import os
import sys
import weakref
from pathlib import Path

if sys.platform == "win32":
    import filelock

    class LockFile:
        """One file to lock."""

        def __init__(self, path: Path, *, create: bool = True) -> None:
            if not create and not path.exists():
                raise FileNotFoundError(path)
            self._lock = filelock.FileLock(path)

        def acquire(self) -> None:
            """Wait until the lock is ours."""
            self._lock.acquire()

        def try_acquire(self) -> bool:
            """Take the lock if it is free."""
            try:
                self._lock.acquire(blocking=False)
            except filelock.Timeout:
                return False
            return True

        def release(self) -> None:
            """Let others take the lock; this file may be locked again."""
            self._lock.release()

        def close(self) -> None:
            """Let go of the lock for good."""
            self._lock.release(force=True)

else:
    import fcntl

    _open: "weakref.WeakSet[LockFile]" = weakref.WeakSet()

    class LockFile:
        """One file to lock."""

        def __init__(self, path: Path, *, create: bool = True) -> None:
            self._descriptor: int | None = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
            _open.add(self)

        def acquire(self) -> None:
            """Wait until the lock is ours."""
            if self._descriptor is not None:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)

        def try_acquire(self) -> bool:
            """Take the lock if it is free."""
            if self._descriptor is None:
                return False
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        def release(self) -> None:
            """Let others take the lock; this file may be locked again."""
            if self._descriptor is not None:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

        def close(self) -> None:
            """Close the file, and with it let go of the lock."""
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)

    def _close_copies() -> None:
        for lock in list(_open):
            lock.close()

    os.register_at_fork(after_in_child=_close_copies)


class NodeLocks:
    """The lock files of nodes, in a folder beside the database: each is locked by its node's process while that lives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine: dict[str, LockFile] = {}

    def hold(self, node_id: str) -> None:
        """Take the lock of a node of this process."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        lock = LockFile(self._file(node_id))
        if not lock.try_acquire():
            lock.close()
            raise BlockingIOError(f"{self._file(node_id)} is locked by another process")
        self._mine[node_id] = lock

    def drop(self, node_id: str) -> None:
        """Remove the lock file of a node that is gone, ours or another's."""
        self._file(node_id).unlink(missing_ok=True)
        lock = self._mine.pop(node_id, None)
        if lock is not None:
            lock.close()

    def is_gone(self, node_id: str) -> bool:
        """Tell whether the process of a node is known to have ended. Without a file nothing is known."""
        if node_id in self._mine:
            return False
        try:
            lock = LockFile(self._file(node_id), create=False)
        except OSError:
            return False
        try:
            return lock.try_acquire()
        finally:
            lock.close()

    def has_file(self, node_id: str) -> bool:
        """Tell whether a node has a lock file."""
        return self._file(node_id).exists()

    def gone(self) -> list[str]:
        """Return the ids of all nodes with a lock file whose process is known to have ended."""
        try:
            files = [entry.name for entry in os.scandir(self._folder)]
        except FileNotFoundError:
            return []
        ids = (name.removesuffix(".lock") for name in files if name.endswith(".lock"))
        return [node_id for node_id in ids if self.is_gone(node_id)]

    def close(self) -> None:
        """Let go of all locks of this process, and leave the files: whoever looks sees that these nodes are gone."""
        for lock in self._mine.values():
            lock.close()
        self._mine.clear()

    def _file(self, node_id: str) -> Path:
        return self._folder / f"{node_id}.lock"
