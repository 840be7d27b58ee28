"""The corpus: one workflow for each shape that code can have, how the outside drives it, and how it must end.

The body of each step tells the world that it began, and returns the identity of its step; bodies are given the results that they
rest on. Drivers may be repeated from the beginning at any time: each is what a client does that tries again after a crash.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Final, NamedTuple

from stepwell import (
    AsyncClient,
    ChildFailed,
    ConflictError,
    Context,
    NonRetryableError,
    Run,
    SignalTimeout,
    StepFailed,
    StepInterrupted,
    Workflow,
    current_step,
    step,
    workflow,
)
from stepwell.model import Event
from tests.crash import world as here

RUN: Final = "the-run"
Driver = Callable[[AsyncClient], Coroutine[Any, Any, None]]


async def effect(*rests_on: object) -> str:
    """The body of most steps."""
    return here.world.effect(*rests_on)


def effect_in_thread(*rests_on: object) -> str:
    """The same as a plain function."""
    return here.world.effect(*rests_on)


async def failing(*rests_on: object) -> str:
    """A body that always fails."""
    raise ValueError(f"{here.world.effect(*rests_on)} fails")


async def unsure(*rests_on: object) -> str:
    """A body that succeeds at the third attempt."""
    name = here.world.effect(*rests_on)
    if current_step().attempt < 3:
        raise OSError(f"attempt {current_step().attempt}")
    return name


async def endless(*rests_on: object) -> str:
    """A body that ends only by being cancelled."""
    here.world.effect(*rests_on)
    await asyncio.Event().wait()
    return ""


async def gated(*rests_on: object) -> str:
    """A body that waits until the driver opens the gate."""
    name = here.world.effect(*rests_on)
    await here.world.gate("gate").wait()
    return name


async def until(client: AsyncClient, condition: Callable[[Run[Any], list[Event]], bool], run_id: str = RUN) -> None:
    """Return when the run, and its history, are so; or over."""
    engine: Any = await client.engine()
    while True:
        moved = engine.watchers.for_move(run_id)
        try:
            run, events = await client.workflow.get_run(run_id), await client.workflow.get_events(run_id)
            if run.is_over or condition(run, events):
                return
            await moved
        finally:
            engine.watchers.forget(run_id, moved)


def waits(run: Run[Any], events: list[Event]) -> bool:
    """Tell whether the run is seen to wait."""
    return run.waiting_for is not None


def has_recorded(step_id: str) -> Callable[[Run[Any], list[Event]], bool]:
    """Tell whether a step's result is recorded."""
    return lambda run, events: any(event.step_id == step_id and event.event_type == "step_completed" for event in events)


async def send(client: AsyncClient, name: str, payload: object, signal_id: str) -> None:
    """Send a signal, unless the run is over: by then it has had it."""
    if not (await client.workflow.get_run(RUN)).is_over:
        await client.workflow.send_signal(RUN, name, payload, signal_id=signal_id)


async def nobody(client: AsyncClient) -> None:
    """Most runs need no driver."""


class Shape(NamedTuple):
    """A workflow and its fate."""

    workflow: Workflow[Any, Any]
    ends: tuple[Any, ...]
    """Outputs that are right, or errors of a run that fails, or the reason of its cancellation. Undisturbed it is the first."""
    drive: Driver = nobody
    status: str = "completed"
    once: frozenset[str] = frozenset()
    """Steps whose bodies never start twice, whatever happens."""


SHAPES: Final[dict[str, Shape]] = {}


def shape(
    *ends: Any, drive: Driver = nobody, status: str = "completed", once: Collection[str] = (), **options: Any
) -> Callable[[Any], Any]:
    """Put a workflow function into the corpus."""

    def add(fn: Any) -> Any:
        name = fn.__name__.replace("_", "-")
        SHAPES[name] = Shape(workflow(f"crash-{name}", **options)(fn), ends, drive, status, frozenset(once))
        return fn

    return add


@shape(["a", "b", "c"])
async def sequence(ctx: Context) -> list[str]:
    """Three steps, each given what came before."""
    a = await step("a", effect)()
    b = await step("b", effect)(a)
    return [a, b, await step("c", effect)(a, b)]


@shape(["item", "item#1", "item#2", "item#3", "item#4"])
async def loop_with_equal_names(ctx: Context) -> list[str]:
    """A name that repeats."""
    done: list[str] = []
    for _ in range(5):
        done.append(await step("item", effect)(*done))
    return done


async def _two(name: str) -> list[str]:
    first = await step(name, effect)()
    return [first, await step(name, effect)(first)]


@shape([[f"parallel#0/{n}/x", f"parallel#0/{n}/x#1"] for n in range(3)])
async def parallel_sequences(ctx: Context) -> list[list[str]]:
    """Branches with sequences inside."""
    return await ctx.parallel([lambda: _two("x") for _ in range(3)])


@shape([
    ["parallel#0/0/a", ["parallel#0/0/parallel#0/0/x", "parallel#0/0/parallel#0/0/x#1"]],
    ["parallel#0/1/a", ["parallel#0/1/parallel#0/0/x", "parallel#0/1/parallel#0/0/x#1"]],
])  # fmt: skip
async def nested_parallel(ctx: Context) -> list[list[Any]]:
    """Branches of branches."""

    async def outer() -> list[Any]:
        first = await step("a", effect)()
        inner = await ctx.parallel([lambda: _two("x")])
        return [first, inner[0]]

    return await ctx.parallel([outer, outer])


@shape(["parallel#0/0/item", "parallel#0/1/item", "parallel#0/2/item", "parallel#0/3/item", "sum"])
async def map_with_limit(ctx: Context) -> list[str]:
    """No more than two at once, and a step that rests on all."""

    async def one(number: int) -> str:
        return await step("item", effect)()

    done = await ctx.map(one, range(4), limit=2)
    return [*done, await step("sum", effect)(*done)]


@shape([["~0/x", "~0/x#1"], ["~1/x", "~1/x#1"], ["~2/x", "~2/x#1"], "end"])
async def gather_with_equal_names(ctx: Context) -> list[Any]:
    """asyncio.gather over sequences with equal names."""
    done = await asyncio.gather(*(_two("x") for _ in range(3)))
    return [*done, await step("end", effect)(*(name for pair in done for name in pair))]


@shape([["~0/x", "~0/x#1"], ["~1/y", "~1/y#1"]])
async def task_group(ctx: Context) -> list[Any]:
    """asyncio's task groups."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_two("x")), group.create_task(_two("y"))]
    return [task.result() for task in tasks]


@shape(["dusk", "dawn"])
async def sleep_between_steps(ctx: Context) -> list[str]:
    """Never early, and only once."""
    # promise 7
    dusk = await step("dusk", effect)()
    before = ctx.now()
    await ctx.sleep("15ms")
    assert (ctx.now() - before).total_seconds() >= 0.015, "woken too early"
    return [dusk, await step("dawn", effect)(dusk)]


@shape([["parallel#0/0/early", "parallel#0/0/late"], ["parallel#0/1/early", "parallel#0/1/late"]])
async def parallel_sleeps(ctx: Context) -> list[Any]:
    """Two branches that sleep for unequal times."""

    async def branch(duration: str) -> list[str]:
        early = await step("early", effect)()
        await ctx.sleep(duration)
        return [early, await step("late", effect)(early)]

    return await ctx.parallel([lambda: branch("5ms"), lambda: branch("20ms")])


async def _sends_early(client: AsyncClient) -> None:
    await send(client, "go", {"n": 1}, "only")
    here.world.gate("gate").set()


@shape(["first", {"n": 1}, "last"], drive=_sends_early)
async def signal_before_wait(ctx: Context) -> list[Any]:
    """A signal that arrives while a step runs."""
    first = await step("first", gated)()
    payload = await ctx.wait_for_signal("go")
    return [first, payload, await step("last", effect)(first)]


async def _sends_late(client: AsyncClient) -> None:
    await until(client, waits)
    await send(client, "go", [None, False], "only")


@shape(["first", [None, False], "last"], drive=_sends_late)
async def signal_after_wait(ctx: Context) -> list[Any]:
    """A signal that arrives while the run waits."""
    first = await step("first", effect)()
    payload = await ctx.wait_for_signal("go")
    return [first, payload, await step("last", effect)(first)]


async def _sends_three(client: AsyncClient) -> None:
    await until(client, waits)
    for number in range(3):
        await send(client, "item", number, f"item-{number}")
        await send(client, "item", "twice", f"item-{number}")


@shape([0, 1, 2, "step#2"], drive=_sends_three)
async def signal_loop_with_timeout(ctx: Context) -> list[Any]:
    """Signals in a loop, each sent twice under one id, until none comes in time."""
    got: list[Any] = []
    last = ""
    try:
        while True:
            got.append(await ctx.wait_for_signal("item", timeout="1h" if len(got) < 3 else "15ms"))
            last = await step("step", effect)(last)
    except SignalTimeout:
        return [*got, last]


async def _sends_ten(client: AsyncClient) -> None:
    for number in range(10):
        await send(client, "n", number, f"n-{number}")


@shape([[*range(10)], "end"], drive=_sends_ten)
async def signals_in_order(ctx: Context) -> list[Any]:
    """Ten signals in a row, whenever they come."""
    got = [await ctx.wait_for_signal("n") for _ in range(10)]
    return [got, await step("end", effect)()]


async def _sends_two(client: AsyncClient) -> None:
    for number in range(2):
        await send(client, "go", number, f"go-{number}")


@shape([[0, 1], "end"], drive=_sends_two)
async def two_branches_one_signal_name(ctx: Context) -> list[Any]:
    """Branches that compete for signals: who took which is recorded."""

    async def branch() -> list[Any]:
        payload = await ctx.wait_for_signal("go")
        return [payload, await step("took", effect)(), current_number(payload)]

    took = await ctx.parallel([branch, branch])
    assert all(payload == number for payload, _, number in took)
    return [sorted(payload for payload, _, _ in took), await step("end", effect)(*(name for _, name, _ in took))]


def current_number(payload: Any) -> Any:
    """Return it: a plain call between durable ones."""
    return payload


@shape(["before", "unsure", "after"])
async def retries(ctx: Context) -> list[str]:
    """A step that fails twice."""
    before = await step("before", effect)()
    middle = await step("unsure", unsure, retries=3, retry_delay=1)(before)
    return [before, middle, await step("after", effect)(before, middle)]


@shape(["before", "bad", "ValueError", "bad fails", 2, True, "after"])
async def caught_failure(ctx: Context) -> list[Any]:
    """A failure that the workflow catches."""
    before = await step("before", effect)()
    try:
        await step("bad", failing, retries=1, retry_delay=0)(before)
    except StepFailed as error:
        seen = [error.step, error.type, error.message, error.attempts, error.is_a(ValueError)]
        return [before, *seen, await step("after", effect)(before)]
    return []


@shape("ValueError: bad fails", status="failed")
async def uncaught_failure(ctx: Context) -> None:
    """A failure that nobody catches."""
    await step("bad", failing)(await step("before", effect)())


@shape("LookupError: the workflow's own", status="failed")
async def own_exception(ctx: Context) -> None:
    """An exception in the workflow's own code."""
    await step("before", effect)()
    raise LookupError("the workflow's own")


@shape("ValueError: parallel#0/1/bad fails", status="failed")
async def failing_branches(ctx: Context) -> None:
    """The first error in branch order, after all branches have ended."""

    async def good() -> str:
        return (await _two("x"))[1]

    async def bad() -> str:
        return await step("bad", failing)(await step("before", effect)())

    await ctx.parallel([good, bad, bad])


@shape(["not again", "ValueError", "after"])
async def nonretryable(ctx: Context) -> list[str]:
    """An error that ends the attempts."""

    async def final() -> None:
        here.world.effect()
        raise NonRetryableError("not again")

    seen: list[str] = []
    for body, options in ((final, {"retries": 5}), (failing, {"retries": 5, "retry_on": OSError})):
        try:
            await step("bad", body, retry_delay=1, **options)()
        except StepFailed as error:
            seen.append(error.message if body is final else error.type)
    return [*seen, await step("after", effect)()]


@shape(["first", "ok", 7, "after"], drive=_sends_late)
async def race_signal_wins(ctx: Context) -> list[Any]:
    """A signal before a long sleep."""
    first = await step("first", effect)()
    key, value = await ctx.race({"ok": ctx.wait_for_signal("go"), "late": ctx.sleep("1h")})
    return [first, key, 7 if value == [None, False] else value, await step("after", effect)(first)]


async def _sends_after_race(client: AsyncClient) -> None:
    await until(client, has_recorded("after"))
    await send(client, "go", "kept", "only")


async def _sends_after_ready(client: AsyncClient) -> None:
    await until(client, has_recorded("parallel#0/0/ready"))
    await send(client, "go", "go", "only")


@shape(["late", None, "after", "kept"], drive=_sends_after_race)
async def race_sleep_wins(ctx: Context) -> list[Any]:
    """A wait that lost a race never swallows a later signal."""
    key, value = await ctx.race({"ok": ctx.wait_for_signal("go"), "late": ctx.sleep("10ms")})
    after = await step("after", effect)()
    return [key, value, after, await ctx.wait_for_signal("go")]


@shape(["quick", "race:0/0/a#1", "after"])
async def race_of_steps(ctx: Context) -> list[Any]:
    """Steps against steps; the loser's are closed."""

    async def quick() -> str:
        return (await _two("a"))[1]

    async def slow() -> str:
        return await step("b", endless)(await step("a", effect)())

    key, value = await ctx.race({"quick": quick, "slow": slow})
    return [key, value, await step("after", effect)(value)]


@shape([200_000, 300_000, "end"])
async def large_results(ctx: Context) -> list[Any]:
    """Results of hundreds of pages."""

    async def large(length: int) -> str:
        return here.world.effect().ljust(length, "x")

    first = await step("first", large)(200_000)
    second = await step("second", large)(300_000)
    return [len(first), len(second), await step("end", effect)(first.rstrip("x"), second.rstrip("x"))]


@shape([["parallel#0/0/ready", "parallel#0/0/after"], "go", "last"], drive=_sends_after_ready)
async def wait_beside_something_not_durable(ctx: Context) -> list[Any]:
    """A run in which one branch waits durably, and another for something that only this process knows, is kept."""

    async def durably() -> Any:
        return await ctx.wait_for_signal("go")

    async def otherwise() -> list[str]:
        await asyncio.sleep(0.01)
        ready = await step("ready", effect)()
        await asyncio.sleep(0.01)
        return [ready, await step("after", effect)(ready)]

    steps, signal = await ctx.parallel([otherwise, durably])
    return [steps, signal, await step("last", effect)(*steps)]


@shape(*(["first", charged, "last"] for charged in ("charge", "StepInterrupted")), once=["charge"])
async def at_most_once(ctx: Context) -> list[str]:
    """A step that is never run again after a loss."""
    first = await step("first", effect)()
    try:
        charged = await step("charge", effect, at_most_once=True)(first)
    except StepInterrupted as error:
        charged = error.type
    return [first, charged, await step("last", effect)(first)]


@shape([True, 3])
async def now_random_uuid4(ctx: Context) -> list[Any]:
    """What a workflow draws is the same at each replay: each step is given it, and returns what it was given."""
    drawn: list[str] = []
    seen: list[str] = []

    async def echo(value: str) -> str:
        here.world.effect()
        return value

    for _ in range(3):
        drawn.append(f"{ctx.uuid4()} {ctx.random().random()} {ctx.now().isoformat()} {ctx.started_at.isoformat()}")
        seen.append(await step("echo", echo)(drawn[-1]))
    return [drawn == seen, len(set(drawn))]


async def _sends_at_once(client: AsyncClient) -> None:
    await send(client, "go", "go", "only")


@shape([True, 9], drive=_sends_at_once)
async def now_after_everything(ctx: Context) -> list[Any]:
    """``ctx.now()`` after each kind of operation is the same at each replay."""
    seen: list[bool] = []

    async def echo(value: str) -> str:
        here.world.effect()
        return value

    async def look() -> None:
        now = ctx.now().isoformat()
        seen.append(await step("echo", echo)(now) == now)

    async def time_out() -> None:
        try:
            await ctx.wait_for_signal("never", timeout="2ms")
        except SignalTimeout:
            await look()

    await look()
    await time_out()
    await ctx.wait_for_signal("go")
    await look()
    await ctx.sleep("2ms")
    await look()
    await ctx.parallel([time_out, look])
    await asyncio.gather(time_out(), look())
    await ctx.race({"quick": step("x", effect).__call__, "never": lambda: ctx.wait_for_signal("never")})
    await look()
    return [all(seen), len(seen)]


@shape(["a", "b", "parallel#0/0/c", "parallel#0/1/c"])
async def plain_functions(ctx: Context) -> list[str]:
    """Bodies that run in threads."""
    a = await step("a", effect_in_thread)()
    b = await step("b", effect_in_thread)(a)
    return [a, b, *await ctx.parallel([step("c", effect_in_thread).__call__ for _ in range(2)])]


@shape(["order@7", "order@9", "order@7#1"])
async def keyed_steps(ctx: Context) -> list[str]:
    """Steps pinned to business ids."""
    return [await step("order", effect, key=key)() for key in ("7", "9", "7")]


@shape(["first", 1, "child-0", "child-1", "last"])
async def client_calls_in_body(ctx: Context) -> list[Any]:
    """An event emitted and two runs triggered from the workflow's own code: each once."""
    first = await step("first", effect)()
    flows = here.world.client.workflow
    event = await flows.emit_event(ctx.run_id, "noted", {"rests on": first})
    children = [await flows.trigger("child-of-a-shape", n, run_id=f"child-{n}") for n in range(2)]
    noted = sum(old.event_type == "noted" for old in await flows.get_events(ctx.run_id))
    assert event.event_type == "noted"
    return [first, noted, *(child.run_id for child in children), await step("last", effect)(first)]


@shape(["first", 2, True, 6, 7, "last"])
async def records_written_in_body(ctx: Context) -> list[Any]:
    """Records written from the workflow's own code: each write is done exactly once, and so is one that is refused."""
    ledger = here.world.client.collection("ledger")

    async def commits() -> int:
        here.world.effect()
        return await (await here.world.client.engine()).records.place("ledger")

    first = await step("first", effect)()
    made = await ledger.create({"rests on": first, "n": 1})
    changed = await ledger.update(made["id"], {"n": made["n"] + 1})
    await ledger.create({"id": "known"})
    refused = False
    try:
        await ledger.create({"id": "known"})
    except StepFailed as error:
        refused = error.is_a(ConflictError)
    many = await ledger.create_many([{"n": n} for n in range(3)])
    await ctx.parallel([lambda: ledger.create({"n": 10}), lambda: ledger.create({"n": 11})])
    await ledger.delete(many[0]["id"])
    count, done = await ledger.count(), await step("commits", commits)()
    return [first, changed["n"], refused, count, done, await step("last", effect)(first)]


@workflow("child-of-a-shape")
async def child(ctx: Context, input: int) -> int:
    """Triggered by another workflow."""
    return input


@shape([f"parallel#0/{n}/x" for n in range(1000)])
async def thousand_steps(ctx: Context) -> list[str]:
    """A thousand at once."""
    return await ctx.parallel([step("x", effect).__call__ for _ in range(1000)])


async def _cancels(client: AsyncClient) -> None:
    await until(client, has_recorded("first"))
    await client.workflow.cancel(RUN, reason="enough")


@shape("enough", drive=_cancels, status="cancelled")
async def cancelled_from_outside(ctx: Context) -> None:
    """Cancelled in the middle of a body."""
    await step("second", endless)(await step("first", effect)())


@shape("MaxEventsError: the run's history has reached its limit of 8 events (max_events)", status="failed", max_events=8)
async def too_many_events(ctx: Context) -> None:
    """Event number max_events is always a final one."""
    done = ""
    while True:
        done = await step("more", effect)(done)


@shape("ExecutionTimeoutError: execution timeout of 2000 ms is over",
       status="failed", execution_timeout=2_000)  # fmt: skip
async def too_slow(ctx: Context) -> None:
    """A deadline that holds whoever executes the run."""
    await step("first", effect)()
    await ctx.wait_for_signal("never")


@workflow("failing-child-of-a-shape")
async def failing_child(ctx: Context, input: int) -> int:
    """Fails."""
    raise ValueError(f"child {input}")


@shape(["first", 0, 1, "child 2", "race", 3, "last"])
async def awaited_children(ctx: Context) -> list[Any]:
    """Children that are waited for: one, several, one that fails, the first of several."""
    first = await step("first", effect)()
    one = await ctx.run_child(child, 0)
    (two,) = await ctx.parallel([lambda: ctx.run_child(child, 1)])
    try:
        failed = await ctx.run_child(failing_child, 2)
    except ChildFailed as error:
        failed = error.message
    key, three = await ctx.race({"race": lambda: ctx.run_child(child, 3), "never": lambda: ctx.wait_for_signal("never")})
    return [first, one, two, failed, key, three, await step("last", effect)(first)]


def has(event_type: str, count: int = 1) -> Callable[[Run[Any], list[Event]], bool]:
    """Tell whether so many events of a type are recorded."""
    return lambda run, events: sum(event.event_type == event_type for event in events) >= count


async def _answers_twice(client: AsyncClient) -> None:
    for number in range(2):
        await until(client, has("hook_created", number + 1))
        for hook in await client.workflow.get_hooks(RUN):
            if hook.payload == number:
                with contextlib.suppress(ConflictError):  # answered in another life, or the run is over
                    await client.workflow.execute_hook(hook.token, f"answer {number}")


@shape(["answer 0", "a#0", "answer 1", "a#1"], drive=_answers_twice)
async def answered_hooks(ctx: Context) -> list[str]:
    """A loop that asks the outside anew, and a step that rests on each answer."""
    done: list[str] = []
    for number in range(2):
        hook = await ctx.create_hook("budget", "approve", number)
        done += [await ctx.wait_for_hook(hook.token), f"a#{number}"]
        await step("a", effect)()
    return done


@shape([True, "a", True])
async def marks(ctx: Context) -> list[Any]:
    """What a run says of itself."""
    await ctx.set_state({"done": 0})
    new = await ctx.patched("change")
    done = await step("a", effect)()
    await ctx.set_state({"done": 1})
    return [new, done, await ctx.patched("change")]


async def _pauses(client: AsyncClient) -> None:
    await until(client, has_recorded("first"))
    history = [event.event_type for event in await client.workflow.get_events(RUN)]
    if "run_paused" not in history:
        await client.workflow.pause(RUN)
        await until(client, has("run_paused"))
    if (await client.workflow.get_run(RUN)).status == "paused":
        await client.workflow.resume(RUN)
    await send(client, "go", None, "go")


@shape(["first", "second"], drive=_pauses)
async def paused_and_resumed(ctx: Context) -> list[str]:
    """Paused while it waits, and resumed."""
    first = await step("first", effect)()
    await ctx.wait_for_signal("go")
    return [first, await step("second", effect)(first)]
