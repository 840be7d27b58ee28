"""Workflows made up as data: a plan is a small tree, and one workflow carries any of them out.

Each leaf has a label of its own, which its step is given and returns, so that a result says which leaf it came from. Names are
few, so that they repeat.
"""

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from hypothesis import strategies as st

from stepwell import ChildFailed, Context, SignalTimeout, StepFailed, StepInterrupted, current_step, step, workflow

NAMES: Final = ("a", "b")
SIGNALS: Final = ("s", "t")


class Call(msgspec.Struct, frozen=True, tag=True):
    """A step that fails at first, or always."""

    label: int
    name: str
    turns: int
    """How many turns of the loop its body takes."""
    fails: int
    retries: int
    key: bool
    once: bool
    """``at_most_once``, and caught if it is interrupted."""

    @property
    def is_doomed(self) -> bool:
        return self.fails > self.retries


class Sleep(msgspec.Struct, frozen=True, tag=True):
    """A durable sleep."""

    label: int
    ms: int


class Signal(msgspec.Struct, frozen=True, tag=True):
    """A wait for the next signal of a name."""

    label: int
    name: str


class TimedOut(msgspec.Struct, frozen=True, tag=True):
    """A wait for a signal that never comes."""

    label: int


class Draw(msgspec.Struct, frozen=True, tag=True):
    """What the workflow draws, and a step that is given it."""

    label: int


class Child(msgspec.Struct, frozen=True, tag=True):
    """A child that is waited for."""

    label: int
    fails: bool


class Sequence(msgspec.Struct, frozen=True, tag=True):
    """One after the other."""

    parts: "list[Plan]"


class Parallel(msgspec.Struct, frozen=True, tag=True):
    """``ctx.parallel``: the first error in branch order, if there is one."""

    parts: "list[Plan]"
    limit: int | None


class Gather(msgspec.Struct, frozen=True, tag=True):
    """``asyncio.gather`` over tasks."""

    parts: "list[Plan]"


class Race(msgspec.Struct, frozen=True, tag=True):
    """``ctx.race``: errors are caught, so that who wins does not decide how the run ends."""

    parts: "list[Plan]"


class Caught(msgspec.Struct, frozen=True, tag=True):
    """An error in it is caught."""

    part: "Plan"


Plan: TypeAlias = Call | Sleep | Signal | TimedOut | Draw | Child | Sequence | Parallel | Gather | Race | Caught


def children(plan: Plan) -> "list[Plan]":
    """Return the parts of a plan."""
    if isinstance(plan, Sequence | Parallel | Gather | Race):
        return plan.parts
    return [plan.part] if isinstance(plan, Caught) else []


def walk(plan: Plan) -> "Iterator[Plan]":
    """Yield a plan and all below it."""
    yield plan
    for part in children(plan):
        yield from walk(part)


_LABEL = st.just(0)
_leaves: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        Call, label=_LABEL, name=st.sampled_from(NAMES), turns=st.integers(0, 3), fails=st.sampled_from([0, 0, 0, 1, 2]),
        retries=st.integers(0, 2), key=st.booleans(), once=st.just(False),
    ),
    st.builds(
        Call, label=_LABEL, name=st.sampled_from(NAMES), turns=st.integers(0, 3), fails=st.just(0), retries=st.just(0),
        key=st.just(False), once=st.just(True),
    ),
    st.builds(Sleep, label=_LABEL, ms=st.integers(0, 3)),
    st.builds(Signal, label=_LABEL, name=st.sampled_from(SIGNALS)),
    st.builds(TimedOut, label=_LABEL),
    st.builds(Draw, label=_LABEL),
    st.builds(Child, label=_LABEL, fails=st.sampled_from([False, False, True])),
)  # fmt: skip


def _inner(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(parts, min_size=1, max_size=4)
    return st.one_of(
        st.builds(Sequence, parts=several),
        st.builds(Parallel, parts=several, limit=st.sampled_from([None, None, 1, 2])),
        st.builds(Gather, parts=several),
        st.builds(Race, parts=several),
        st.builds(Caught, part=parts),
    )


def _children_may_be_started(plan: Plan) -> bool:
    """Tell that no race decides which children there are: a child that lost is not told of again when the race is run anew."""
    return not any(isinstance(below, Child) for race in walk(plan) if isinstance(race, Race) for below in walk(race))


def _labelled(plan: Any, labels: Iterator[int]) -> Any:
    if isinstance(plan, Caught):
        return Caught(_labelled(plan.part, labels))
    if children(plan):
        return msgspec.structs.replace(plan, parts=[_labelled(part, labels) for part in children(plan)])
    return msgspec.structs.replace(plan, label=next(labels))


plans: Final[st.SearchStrategy[Sequence]] = (
    st.lists(st.recursive(_leaves, _inner, max_leaves=12), min_size=1, max_size=4)
    .map(lambda parts: _labelled(Sequence(parts), iter(range(1, 1_000))))
    .filter(_children_may_be_started)
)


class Begun:
    """What bodies did: which attempt of which step of which run began, in order."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, str, int]] = []

    def of(self, run_id: str) -> list[tuple[str, int]]:
        return [(step_id, attempt) for run, step_id, attempt in self.steps if run == run_id]


begun: Final = Begun()


async def _body(label: int, turns: int, fails: int) -> int:
    scope = current_step()
    begun.steps.append((scope.run_id, scope.step_id, scope.attempt))
    for _ in range(turns):
        await asyncio.sleep(0)
    if scope.attempt <= fails:
        raise ValueError(f"leaf {label}")
    return label


async def _echo(value: list[Any]) -> list[Any]:
    scope = current_step()
    begun.steps.append((scope.run_id, scope.step_id, scope.attempt))
    return value


@workflow("law-child")
async def law_child(ctx: Context, input: Annotated[Any, "a label, and whether to fail"]) -> Any:
    """Be a child."""
    label, fails = input
    if fails:
        raise ValueError(f"leaf {label}")
    return label


@workflow("law")
async def law(ctx: Context, input: Annotated[Any, "a plan"]) -> Any:
    """Carry out any plan."""
    return await _do(ctx, msgspec.convert(input, Sequence))


async def _do(ctx: Context, plan: Plan) -> Any:
    match plan:
        case Call(label, name, turns, fails, retries, key, once):
            body = step(
                name, _body, retries=retries, retry_delay=0, key=str(label % 3) if key else None, at_most_once=once
            )  # fmt: skip
            try:
                return await body(label, turns, fails)
            except StepInterrupted:
                return f"interrupted {label}"
        case Sleep(label, ms):
            before = ctx.now()
            await ctx.sleep(f"{ms}ms")
            slept = (ctx.now() - before).total_seconds() * 1000
            return label if slept >= ms else f"woken after {slept} of {ms} ms"
        case Signal(label, name):
            return [label, name, await ctx.wait_for_signal(name)]
        case TimedOut(label):
            try:
                return await ctx.wait_for_signal("never", timeout="1ms")
            except SignalTimeout:
                return label
        case Draw(label):
            drawn = [str(ctx.uuid4()), ctx.random().random(), ctx.now().isoformat()]
            return label if drawn == await step("draw", _echo)(drawn) else f"drawn anew {label}"
        case Child(label, fails):
            return await ctx.run_child(law_child, [label, fails])
        case Sequence(parts):
            return [await _do(ctx, part) for part in parts]
        case Parallel(parts, limit):
            return await ctx.map(lambda part: _do(ctx, part), parts, limit=limit)
        case Gather(parts):
            return await asyncio.gather(*(_caught(ctx, part) for part in parts))
        case Race(parts):
            return await ctx.race({index: _caught(ctx, part) for index, part in enumerate(parts)})
        case Caught(part):
            return await _caught(ctx, part)


async def _caught(ctx: Context, plan: Plan) -> Any:
    try:
        return await _do(ctx, plan)
    except (StepFailed, ChildFailed) as error:
        return error.message


def error_of(plan: Plan) -> str | None:
    """Return the text of the error with which a plan must end, or None."""
    match plan:
        case Call(label=label, is_doomed=True) | Child(label=label, fails=True):
            return f"leaf {label}"
        case Sequence(parts) | Parallel(parts):
            return next((error for error in map(error_of, parts) if error is not None), None)
        case _:
            return None


def fits(plan: Plan, value: Any) -> bool:
    """Tell whether a plan without an error may end with this value."""
    match plan:
        case Call(label=label, once=once):
            return value == label or (once and value == f"interrupted {label}")
        case Signal(label, name):
            return isinstance(value, list) and value[:2] == [label, name] and isinstance(value[2], int)
        case Sleep(label) | TimedOut(label) | Draw(label) | Child(label):
            return bool(value == label)
        case Sequence(parts) | Parallel(parts):
            return len(parts) == len(value) and all(map(fits, parts, value))
        case Gather(parts):
            return len(parts) == len(value) and all(map(_fits_caught, parts, value))
        case Race(parts):
            return _fits_caught(parts[value[0]], value[1])
        case Caught(part):
            return _fits_caught(part, value)


def _fits_caught(plan: Plan, value: Any) -> bool:
    error = error_of(plan)
    return fits(plan, value) if error is None else bool(value == error)


def signals_in(value: Any) -> list[tuple[str, int]]:
    """Return the signals in a result, in the order of the code: name and number."""
    if not isinstance(value, list):
        return []
    if len(value) == 3 and value[1] in SIGNALS and isinstance(value[1], str):
        return [(value[1], value[2])]
    return [signal for part in value for signal in signals_in(part)]
