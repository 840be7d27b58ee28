"""Workflows that tell what they see, and a worker for them. ``python -m tests.checker.workload FOLDER URL``.

Each body writes a line to ``FOLDER/effects.jsonl`` before anything else, and returns the number that it drew for it, so that
every result is known to come from one beginning of one body. Workflows return under ``saw`` what they were given. What the worker
says of itself goes to standard output: ``ready``, and its counters at its end.
"""

import asyncio
import json
import os
import random
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from stepwell import (
    AsyncClient,
    Context,
    NonRetryableError,
    SignalTimeout,
    StepFailed,
    UnavailableError,
    WorkflowWorker,
    current_step,
    step,
    workflow,
)
from stepwell.failpoints import counters
from tests.checker.records import Effect, boot_ns, is_compensation

MEMBERS: Final = 2
"""How many customers a ``shared`` run waits for."""
_journal: int = -1
_dice: Final = random.Random()


def _begin(*rests_on: str) -> str:
    scope = current_step()
    nonce = f"{scope.step_id}={secrets.token_hex(6)}"
    effect = Effect(
        run_id=scope.run_id, step_id=scope.step_id, attempt=scope.attempt, nonce=nonce, rests_on=rests_on, pid=os.getpid(),
        at_ns=boot_ns(), wall_ms=time.time_ns() // 1_000_000, undoes=is_compensation(scope.step_id),
    )  # fmt: skip
    os.write(_journal, msgspec.json.encode(effect) + b"\n")
    return nonce


async def act(*rests_on: str) -> str:
    """The body of most steps."""
    nonce = _begin(*rests_on)
    await asyncio.sleep(_dice.random() * 0.02)
    return nonce


def act_in_thread(*rests_on: str) -> str:
    """The same as a plain function."""
    nonce = _begin(*rests_on)
    time.sleep(_dice.random() * 0.02)
    return nonce


async def _unsure(*rests_on: str) -> str:
    nonce = await act(*rests_on)
    if current_step().attempt < 3:
        raise OSError("not yet")
    return nonce


async def _only_later(attempt: int) -> str:
    nonce = await act()
    if attempt == 1:
        raise NonRetryableError("not at the first attempt of the run")
    return nonce


class Saw:
    """What a workflow was given, in order."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._results: list[str] = []
        self._signals: dict[str, list[Any]] = {}

    async def do(self, name: str, *rests_on: Any, fn: Any = act, **options: Any) -> str:
        """Run a step."""
        result: str = await step(name, fn, **options)(*rests_on)
        self._results.append(result)
        return result

    async def signal(self, name: str, timeout: str | None = None) -> Any:
        """Wait for a signal."""
        payload = await self._ctx.wait_for_signal(name, timeout=timeout)
        self._signals.setdefault(name, []).append(payload)
        return payload

    def told(self, **more: Any) -> dict[str, Any]:
        """Return the output of the workflow."""
        return {"saw": {"results": self._results, "signals": self._signals}, **more}


@workflow("mixed")
async def mixed(ctx: Context, input: Any) -> Any:
    """Something of everything."""
    saw = Saw(ctx)
    first = await saw.do("first")
    await ctx.sleep(f"{input['sleep_ms']}ms")
    await ctx.set_state({"slept": True})

    async def branch() -> str:
        return await saw.do("in", await saw.do("in", first), fn=act_in_thread)

    pair = await ctx.parallel([branch, branch])
    for _ in range(3):
        await saw.signal("n")
    await ctx.emit("all-there", ctx.run_id)
    await saw.do("unsure", *pair, fn=_unsure, retries=3, retry_delay="20ms")
    return saw.told()


@workflow("asks")
async def asks(ctx: Context, input: Any) -> Any:
    """A question to the outside, and a signal that never comes."""
    saw = Saw(ctx)
    first = await saw.do("ask")
    hook = await ctx.create_hook("approval", "approve", first)
    answer = await ctx.wait_for_hook(hook.token)
    try:
        await saw.signal("never", timeout="100ms")
    except SignalTimeout:
        await saw.do("after", first)
    return saw.told(answer=answer)


@workflow("family")
async def family(ctx: Context, input: Any) -> Any:
    """Children at once, and what rests on them."""
    saw = Saw(ctx)
    outputs = await ctx.parallel([ctx.run_child("leaf", number) for number in range(2)])
    await saw.do("sum")
    return saw.told(children=outputs)


@workflow("leaf")
async def leaf(ctx: Context, input: Any) -> Any:
    """A child."""
    saw = Saw(ctx)
    first = await saw.do("one")
    await ctx.sleep("30ms")
    await saw.do("two", first)
    return saw.told()


@workflow("long")
async def long(ctx: Context, input: Any) -> Any:
    """Steps enough to be cancelled, or paused, among them."""
    saw = Saw(ctx)
    last: tuple[str, ...] = ()
    for _ in range(input["steps"]):
        last = (await saw.do("item", *last),)
    return saw.told()


@workflow("shaky")
async def shaky(ctx: Context, input: Any) -> Any:
    """Fails, until the run is retried."""
    saw = Saw(ctx)
    first = await saw.do("before")
    await saw.do("shaky", ctx.attempt, fn=_only_later)
    await saw.do("after", first)
    return saw.told()


@workflow("bounded")
async def bounded(ctx: Context, input: Any) -> Any:
    """Never ends by itself: whoever triggers it bounds its history."""
    saw = Saw(ctx)
    while True:
        try:
            await saw.do("again")
        except StepFailed:
            return saw.told()


@workflow("raced")
async def raced(ctx: Context, input: Any) -> Any:
    """A signal against a sleep, then another signal: which one depends on who won."""
    saw = Saw(ctx)
    won, _ = await ctx.race({"signal": saw.signal("n"), "late": ctx.sleep("150ms")})
    await saw.signal("n")
    await saw.do("after")
    return saw.told(won=won)


@workflow("booking")
async def booking(ctx: Context, input: Any) -> Any:
    """Steps that are undone if it fails, or is cancelled."""
    saw = Saw(ctx)
    first = await saw.do("book", compensate=act, retries=1, retry_delay="20ms")
    await ctx.parallel([saw.do("book", first, compensate=act), saw.do("look", first)])
    await ctx.sleep("50ms")
    await saw.do("book", first, compensate=act_in_thread)
    if input["fails"]:
        await saw.do("pay", 1, fn=_only_later)
    return saw.told()


@workflow("late")
async def late(ctx: Context, input: Any) -> Any:
    """Does not end in time: whoever triggers it sets a deadline."""
    saw = Saw(ctx)
    await saw.do("first")
    await ctx.sleep("1h")
    return saw.told()


@workflow("shared")
async def shared(ctx: Context, input: Any) -> Any:
    """Waits until each member has joined, however often."""
    saw = Saw(ctx)
    joined: set[int] = set()
    while len(joined) < MEMBERS:
        joined.add((await saw.signal("join"))["member"])
    await saw.do("together")
    return saw.told()


@workflow("keyed")
async def keyed(ctx: Context, input: Any) -> Any:
    """Triggered by everybody with one key."""
    saw = Saw(ctx)
    await saw.do("second", await saw.do("first"))
    return saw.told()


async def _until_done(attempt: Callable[[], Awaitable[object]]) -> None:
    """Try until the store, or the server, is there."""
    while True:
        try:
            await attempt()
        except UnavailableError:
            await asyncio.sleep(0.1)
        else:
            return


async def work(folder: Path, url: str) -> None:
    """Execute runs until told to stop."""
    global _journal
    _journal = os.open(folder / "effects.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    client = AsyncClient(url)
    await _until_done(client.engine)
    async with client:
        worker = WorkflowWorker(client, concurrency=16)
        await _until_done(worker.start_all)
        os.write(1, b"ready\n")
        await worker.run()
    os.write(1, f"{json.dumps(counters)}\n".encode())


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2]))
