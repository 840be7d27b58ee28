"""One run over several lives of an engine, each ended by a death at a commit, and what must be true whenever one has ended."""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from stepwell import AsyncClient, WorkflowWorker, failpoints
from stepwell.execution.identity import compensation_key
from stepwell.model import Run
from stepwell.settings import Settings
from tests import postgres
from tests.crash import world as here
from tests.crash.shapes import RUN, Shape
from tests.crash.world import World, new_world

UNDONE: Final = {"compensation_completed", "compensation_failed"}
OUTCOMES: Final = {"step_completed", "step_failed", "step_interrupted", *UNDONE}
CALLS: Final = ("workflow.", "collection.")
"""What calls of the client are called in histories."""
PLACES: Final = ("commit.before_commit", "commit.after_commit")


class Death(NamedTuple):
    """Die at this place of the nth commit of a life."""

    place: str
    nth: int


class Row(NamedTuple):
    """An event as it lies in the file."""

    seq: int
    type: str
    step_id: str
    name: str
    payload: str
    at: int


class Story(NamedTuple):
    """All that happened to a run."""

    deaths: int
    commits: int
    """How many commits the last life has made, or begun."""
    world: World
    snapshots: list[list[Row]]
    """The history at each death, and at the end."""
    run: Run[Any]
    wrong: list[str]
    """What the store's check found at the end."""


class _Died(BaseException):
    """Ends the thread that writes, as the death of the process would: nothing is rolled back, released or answered."""


def live(url: str, shape: Shape, deaths: Sequence[Death], settings: Settings, *, whole: bool = False) -> Story:
    """See one run through, in an empty store: die as told, once a life, and live on until it is over.

    Commits count from the trigger to the run's end; with ``whole`` also those by which an engine starts and ends.
    """
    world, snapshots, died = new_world(), list[list[Row]](), 0
    plan = list(deaths)
    while True:
        counts = dict.fromkeys(PLACES, 0)
        death = plan.pop(0) if plan else None
        client = AsyncClient(url, settings=settings)
        ending = asyncio.run(_one_life(client, shape, death, counts, whole=whole))
        snapshots.append(_read(url))
        if ending is not None:
            return Story(died, counts[PLACES[0]], world, snapshots, *ending)
        died += 1
        if _is_postgres(url):
            # No lock file tells of this death, only the lease: let it be over, however long it was.
            postgres.sql(url, "UPDATE nodes SET lease_until = 0 WHERE lease_until IS NOT NULL")


async def _one_life(
    client: AsyncClient, shape: Shape, death: Death | None, counts: dict[str, int], *, whole: bool
) -> tuple[Run[Any], list[str]] | None:
    loop = asyncio.get_running_loop()
    dead = loop.create_future()
    here.world.begin_life(client)

    def passes(place: str) -> Callable[[], None]:
        def passing() -> None:
            if not (whole or here.world.is_watched):
                return
            counts[place] += 1
            if death == (place, counts[place]):
                here.world.is_dead = True
                loop.call_soon_threadsafe(dead.set_result, None)
                raise _Died

        return passing

    failpoints.armed.update({place: passes(place) for place in PLACES})
    life = loop.create_task(_life(client, shape))
    await asyncio.wait({life, dead}, return_when=asyncio.FIRST_COMPLETED)
    if not dead.done():
        return life.result()
    # What is left of this life is cancelled with the loop; it can write nothing any more.
    engine: Any = client._engine
    await asyncio.to_thread(engine.store.abandon)
    return None


async def _life(client: AsyncClient, shape: Shape) -> tuple[Run[Any], list[str]]:
    # Nothing here is closed on the way out: a death leaves no time for that.
    worker = WorkflowWorker(client)
    children = [f"{kind}child-of-a-shape" for kind in ("", "failing-", "undone-", "flaky-")]
    await worker.start(shape.workflow, *children)
    here.world.is_watched = True
    await client.workflow.trigger(shape.workflow, run_id=RUN)
    drives = asyncio.create_task(shape.drive(client))
    await client.workflow.wait(RUN)
    await drives
    run = await client.workflow.wait(RUN)  # which may have been retried meanwhile
    here.world.is_watched = False
    await worker.stop()
    wrong = await client.check_store()
    await client.close()
    return run, wrong


def _is_postgres(url: str) -> bool:
    return url.startswith("postgresql:")


def _read(url: str) -> list[Row]:
    query = f"SELECT seq, type, step_id, name, payload, at FROM events WHERE run_id = '{RUN}' ORDER BY seq"
    if _is_postgres(url):
        return [Row._make(row) for row in postgres.sql(url, query)]
    connection = apsw.Connection(url.removeprefix("sqlite:///"))
    try:
        return [Row(*row) for row in connection.execute(query)]
    finally:
        connection.close()


def end_of(run: Run[Any]) -> Any:
    """Return what a shape says about its end: the output, the error without the step's name, or the reason."""
    if run.status == "completed":
        return run.output
    if run.status == "cancelled":
        return run.cancel_reason
    details = run.error_details
    assert details is not None
    return f"{details.type.rpartition('.')[2]}: {details.message}"


_TIMES: Final = {"startedAt", "durationMs", "until", "nextAt", "seed", "expires", "messageId"}
_DRAWN: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-|T\d\d:\d\d:\d\d")


def essence(rows: Sequence[Row]) -> list[Any]:
    """Return a history without what may differ between two runs of one shape, in an order of its own.

    That is: times, what was drawn, in which order branches go on, how far the losers of races came, whether a wait with a
    time-out had to wait at all, and pauses.
    """
    lost = [
        f"{row.step_id}/{branch}/"
        for row in rows
        if row.type == "race_won" and "winner" in (won := msgspec.json.decode(row.payload))
        for branch in range(10)
        if branch != won["winner"]
    ]
    kept = [
        (row.type, row.step_id, row.name, _timeless(row.name, msgspec.json.decode(row.payload)))
        for row in rows
        if not row.step_id.startswith(tuple(lost)) and not (row.type == "sleep_started" and row.name) and not _is_pause(row)
    ]
    return sorted(kept, key=repr)


def _is_pause(row: Row) -> bool:
    """Tell what is recorded of a pause: whether a run that goes on is paused at all depends on who comes first."""
    return row.type == "run_paused" or (row.type == "run_resumed" and "attempt" not in msgspec.json.decode(row.payload))


def _timeless(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    is_drawn = name.startswith(CALLS) or _DRAWN.search(str(value.get("result")))
    hidden = _TIMES | ({"fingerprint", "result"} if is_drawn else set())
    return {key: inner for key, inner in value.items() if key not in hidden}


def _outcomes(rows: Sequence[Row]) -> tuple[set[str], set[str]]:
    """Return the steps whose outcome counts, and those of which a retry has declared one void."""
    counting, voided = set[str](), set[str]()
    for row in rows:
        if row.type in OUTCOMES:
            counting.add(row.step_id)
        elif row.type == "run_resumed":
            voided.update(msgspec.json.decode(row.payload).get("voided", ()))
            counting -= voided
    return counting, voided


def check_effects(story: Story) -> None:
    """Check what the world saw of a run against what is recorded of it."""
    final = story.snapshots[-1]
    recorded_by: dict[int, set[str]] = {}
    voided_by: dict[int, set[str]] = {}
    for life, rows in enumerate(story.snapshots, 1):
        # promise 1: what was committed stays, as it was.
        assert final[: len(rows)] == rows
        recorded_by[life], voided_by[life] = _outcomes(rows)
    for start in story.world.starts:
        # promise 2: a recorded step never runs again.
        recorded = recorded_by.get(start.life - 1, set()) - voided_by[start.life]
        assert start.step_id not in recorded, f"{start} was recorded, and began again"
        # promise 3: when a body starts, all that its branch rests on is committed.
        missing = set(start.rests_on) - {""} - recorded_by[start.life]
        assert not missing, f"{start} began although {missing} was not recorded"
    # Each completed step that has a compensation is undone, once, the last first: if, and only if, the run is.
    undone = [row.step_id for row in final if row.type in UNDONE]
    is_undone = any(row.type in ("cancel_requested", "compensation_started") for row in final)
    completed = [
        row.step_id for row in final if row.type == "step_completed" and "compensate" in msgspec.json.decode(row.payload)
    ]
    assert undone == ([compensation_key(step_id) for step_id in reversed(completed)] if is_undone else [])
    begun = [
        (start.life, start.step_id, start.attempt)
        for start in story.world.starts
        if start.step_id not in voided_by[len(story.snapshots)]
    ]
    assert len(begun) == len(set(begun)), "a body began twice in one life"
    # Nothing is recorded that has not happened.
    happened = {start.step_id for start in story.world.starts}
    claimed = {row.step_id for row in final if row.type in OUTCOMES and not row.name.startswith(CALLS)}
    interrupted = {row.step_id for row in final if row.type == "step_interrupted"}
    by_hand = {row.step_id for row in final if row.type == "step_completed" and "reason" in msgspec.json.decode(row.payload)}
    assert claimed - interrupted - by_hand <= happened
