"""The proof itself: an engine lives three lives under the log, and the power goes at every position of it."""

from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tests.powerloss import engine, found
from tests.powerloss.sweep import Sweep, record


class Form(NamedTuple):
    """How much to try: so many runs, random disk contents a position, and an engine that goes on from each so-manieth state."""

    count: int
    torn: int
    audit_every: int


SHORT: Final = Form(count=36, torn=4, audit_every=500)
LONG: Final = Form(count=120, torn=8, audit_every=100)


def record_lives(form: Form, library: Path, scratch: Path) -> None:
    """Write the log of three lives of an engine, in new files below ``scratch``.

    The first is killed when a third of the runs is over, the second after two thirds; the third closes its file.
    """
    root, count = scratch / "watched", form.count
    root.mkdir()
    for ordered, dies_after in ((count // 2, count // 3), (count, 2 * count // 3), (count, count + 1)):
        record(library, root, scratch / "log", engine.__name__, str(ordered), str(dies_after))


def sweep_lives(form: Form, scratch: Path, *, seed: int = 1, lies: bool = False) -> Sweep:
    """Return the sweep over what ``record_lives`` has left below ``scratch``."""
    return Sweep(
        scratch / "log",
        scratch / "watched",
        engine.DATABASE,
        found.read,
        torn=form.torn,
        seed=seed,
        audit=partial(found.go_on, count=form.count),
        audit_every=form.audit_every,
        lies=lies,
        # A disk that lies loses most of a database before it loses one commit at its end.
        losses_max=500 if lies else 10,
    )
