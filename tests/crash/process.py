"""A worker in a process of its own, to be killed. ``python -m tests.crash.process FOLDER [gated]``.

What its bodies do to the world is a line in ``FOLDER/effects``, written before anything else, and in one piece. What it says of
itself goes to standard output, a line each: ``ready``, ``began RUN STEP`` as a body begins, and its counters at its end.
Told ``gated``, its bodies that know a gate wait for a line on standard input.
"""

import asyncio
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any, Final

from stepwell import AsyncClient, Context, WorkflowWorker, current_step, step, workflow
from stepwell.failpoints import counters

STEPS: Final = 10
_gate: asyncio.Event | None = None
_effects: int = -1
_client: AsyncClient | None = None


def _effect() -> str:
    scope, nonce = current_step(), secrets.token_hex(8)
    os.write(_effects, f"{os.getpid()} {scope.run_id} {scope.step_id} {nonce}\n".encode())
    os.write(1, f"began {scope.run_id} {scope.step_id}\n".encode())
    return nonce


async def _short() -> str:
    nonce = _effect()
    await asyncio.sleep(0.01)
    return nonce


async def _at_the_gate() -> str:
    nonce = _effect()
    if _gate is not None:
        await _gate.wait()
    return nonce


@workflow("ten-steps")
async def ten_steps(ctx: Context, input: Any) -> list[str]:
    """Steps one after the other."""
    return [await step(f"step-{n}", _short)() for n in range(STEPS)]


@workflow("ledger")
async def ledger(ctx: Context, input: Any) -> list[str]:
    """Entries that the body writes, with ids that are drawn; each tells of a step before it."""
    assert _client is not None
    entries = _client.collection("ledger")
    ids: list[str] = []
    for n in range(STEPS):
        nonce = await step(f"step-{n}", _short)()
        made = await entries.create({"run": ctx.run_id, "n": n, "nonce": nonce})
        await entries.update(made["id"], {"updates": 1}, if_match=made)
        ids.append(made["id"])
    return ids


@workflow("gated")
async def gated(ctx: Context, input: Any) -> list[str]:
    """A step that may have to wait, and one that rests on it."""
    return [await step("gated", _at_the_gate)(), await step("after", _short)()]


async def _unsure() -> str:
    nonce = await _short()
    if current_step().attempt < 3:
        raise OSError("not yet")
    return nonce


@workflow("mixed")
async def mixed(ctx: Context, input: Any) -> Any:
    """Something of everything."""
    first = await step("first", _short)()
    await ctx.sleep("50ms")

    async def branch() -> list[str]:
        return [await step("in", _short)(), await step("in", _short)()]

    pairs = await ctx.parallel([branch, branch])
    signals = [await ctx.wait_for_signal("n") for _ in range(3)]
    unsure = await step("unsure", _unsure, retries=3, retry_delay="20ms")()
    return [signals, [first, *pairs[0], *pairs[1], unsure]]


async def _work(folder: Path, *, is_gated: bool) -> None:
    global _gate, _effects, _client
    _effects = os.open(folder / "effects", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    if is_gated:
        _gate = asyncio.Event()
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        opening = asyncio.create_task(_open(reader, _gate))
    async with AsyncClient(os.environ.get("STEPWELL_URL") or f"sqlite:///{folder}/store.db") as client:
        _client = client
        worker = WorkflowWorker(client, concurrency=8)
        await worker.start_all()
        # Whoever reads it may send SIGTERM at once: said after `run` has put its handlers in place.
        asyncio.get_running_loop().call_soon(os.write, 1, b"ready\n")
        await worker.run()
    if is_gated:
        opening.cancel()
    os.write(1, f"{json.dumps(counters)}\n".encode())


async def _open(reader: asyncio.StreamReader, gate: asyncio.Event) -> None:
    await reader.readline()
    gate.set()


if __name__ == "__main__":
    asyncio.run(_work(Path(sys.argv[1]), is_gated="gated" in sys.argv[2:]))
