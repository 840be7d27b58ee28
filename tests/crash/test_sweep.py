"""Die before and after the nth commit, for every n; recover in a new engine; compare with the run that did not die."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count, cycle
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import pytest

from stepwell.settings import Settings
from tests import postgres
from tests.crash import forked, steered, undone
from tests.crash.lives import PLACES, Death, Story, check_effects, end_of, essence, live
from tests.crash.shapes import SHAPES, Shape

KEPT: Final = Settings(waiting_shown_ms=1, step_started_ms=60_000, quarantine_alone=1_000, quarantine_pause=1_000)
"""Waiting runs stay in memory."""
EVICTED: Final = msgspec.structs.replace(KEPT, keep_ms=0)
"""Waiting runs are thrown away at once, and come back by replay."""

assert undone.SHAPES is forked.SHAPES is steered.SHAPES is SHAPES

_WAITING: Final = (
    "sleep", "signal", "race", "retries", "slow", "wait", "now-after", "undone", "retried", "repaired", "polled"
)  # fmt: skip
WAITING: Final = [name for name in SHAPES if any(word in name for word in _WAITING)]
AGAIN: Final = (
    "map-with-limit", "gather-with-equal-names", "two-branches-one-signal-name", "retries", "at-most-once",
    "undone-after-a-failure", "undone-branches", "undone-with-difficulty", "retried-run", "retried-parent", "repaired-by-hand",
    "paused-while-it-runs",
)  # fmt: skip

ON_POSTGRES: Final = ("sequence", "retries", "two-branches-one-signal-name", "undone-after-a-failure")


def check(shape: Shape, story: Story, undisturbed: Story) -> None:
    """Check how a run ended, what is recorded of it, and what the world saw."""
    check_effects(story)
    # promise 13, and all that the store's own check knows.
    assert story.wrong == []
    assert story.run.status == shape.status
    assert end_of(story.run) in shape.ends
    # promise 5: code that asks for the same finds the same; 6: signals in order, each once; 8: one end; 10: not one event more.
    if end_of(story.run) == end_of(undisturbed.run):
        assert essence(story.snapshots[-1]) == essence(undisturbed.snapshots[-1])
    for step_id in shape.once:
        assert sum(start.step_id == step_id for start in story.world.starts) <= 1


Fresh: TypeAlias = Callable[[], str]
"""Gives the URL of an empty store."""


def in_folder(folder: Path) -> Fresh:
    names = count(1)
    return lambda: f"sqlite:///{folder}/{next(names)}.db"


@contextmanager
def on_postgres(dsn: str) -> Iterator[Fresh]:
    with ExitStack() as schemas:
        yield lambda: schemas.enter_context(postgres.schema(dsn))


def sweep(
    shape: Shape, place: str, settings: Settings, fresh: Fresh, *, then: tuple[Death, ...] = (), whole: bool = False
) -> None:
    """Die once at every commit of the first life, and in the lives after it as told."""
    undisturbed = live(fresh(), shape, [], settings)
    check(shape, undisturbed, undisturbed)
    for nth in count(1):
        story = live(fresh(), shape, [Death(place, nth), *then], settings, whole=whole)
        check(shape, story, undisturbed)
        if not story.deaths:
            assert nth > undisturbed.commits / 2, "most commits of a run were died at"
            return


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", SHAPES)
def test_dies_at_every_commit(name: str, place: str, tmp_path: Path) -> None:
    sweep(SHAPES[name], place, KEPT, in_folder(tmp_path))


@pytest.mark.parametrize(("name", "place"), list(zip(WAITING, cycle(PLACES), strict=False)))
def test_dies_at_every_commit_with_every_wait_evicted(name: str, place: str, tmp_path: Path) -> None:
    # Each at one of the places; `make chaos` sweeps them at both.
    sweep(SHAPES[name], place, EVICTED, in_folder(tmp_path))


@pytest.mark.parametrize("place", PLACES)
def test_dies_at_every_commit_while_an_engine_starts_and_ends(place: str, tmp_path: Path) -> None:
    sweep(SHAPES["sequence"], place, KEPT, in_folder(tmp_path), whole=True)


@pytest.mark.parametrize("name", AGAIN)
def test_dies_again_while_it_recovers(name: str, tmp_path: Path) -> None:
    sweep(SHAPES[name], PLACES[0], EVICTED, in_folder(tmp_path), then=(Death(PLACES[1], 2), Death(PLACES[0], 2)))


@pytest.mark.parametrize(("name", "place"), list(zip(ON_POSTGRES, cycle(PLACES), strict=False)))
def test_dies_at_every_commit_on_postgresql(name: str, place: str, postgres_dsn: str) -> None:
    # A few shapes, each at one of the places; `make chaos` sweeps all of them at both.
    with on_postgres(postgres_dsn) as fresh:
        sweep(SHAPES[name], place, EVICTED if name in WAITING else KEPT, fresh)


@pytest.mark.parametrize("name", AGAIN)
def test_gets_on_although_every_life_ends_early(name: str, tmp_path: Path) -> None:
    fresh = in_folder(tmp_path)
    undisturbed = live(fresh(), SHAPES[name], [], KEPT)
    story = live(fresh(), SHAPES[name], [Death(PLACES[1], 4)] * 50, KEPT)
    check(SHAPES[name], story, undisturbed)
    assert 0 < story.deaths < 50
