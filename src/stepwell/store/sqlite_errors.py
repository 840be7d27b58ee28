"""What an error of SQLite means to callers. Its own words, like "database is locked", go no further than here."""

import apsw

from stepwell.errors import CorruptStoreError, StepwellError, UnavailableError
from stepwell.store.base import DataRefused, NotApplied

_DATA = (
    apsw.ConstraintError, apsw.TooBigError, apsw.MismatchError, apsw.RangeError, TypeError, OverflowError, ValueError,
)  # fmt: skip


def not_committed(error: Exception) -> StepwellError | None:
    """Return what to raise for an error before the commit, or None for one that only a mistake in the code explains."""
    if isinstance(error, StepwellError):
        return error
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return CorruptStoreError(f"the database file is damaged ({error})")
    if isinstance(error, _DATA):
        return DataRefused(f"the store refuses a value: {error}")
    why = _passing(error)
    return None if why is None else NotApplied(why)


def not_readable(error: Exception, name: str) -> StepwellError | None:
    """Return what to raise for an error while opening or reading, or None for one that only a mistake in the code explains."""
    if isinstance(error, StepwellError):
        return error
    if isinstance(error, apsw.CorruptError):
        return CorruptStoreError(f"{name} is damaged ({error})")
    if isinstance(error, apsw.NotADBError):
        return CorruptStoreError(f"{name} is not a SQLite database")
    why = _passing(error)
    return None if why is None else UnavailableError(f"{name} cannot be used: {why}")


def _passing(error: Exception) -> str | None:
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return "another program is writing to the file"
    if isinstance(error, apsw.FullError):
        return "the disk is full"
    if isinstance(error, apsw.ReadOnlyError):
        return "the file or its folder is read-only"
    if isinstance(error, apsw.CantOpenError):
        return "the file cannot be opened: is there such a folder, and may this user write to it?"
    if isinstance(error, apsw.IOError | OSError):
        return f"reading or writing failed ({error})"
    if isinstance(error, apsw.NoMemError | MemoryError):
        return "memory ran out"
    return None
