"""What customers do with runs: one function for each kind of errand.

An errand is drawn from its number alone, and each of its calls may be made again: a customer that was killed begins anew, with
the same ids, as a program would that tries again after a crash.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from stepwell import ConflictError, HookExpired, NotFoundError, UnavailableError
from tests.checker.recorder import Recorder

AGAIN_S: Final = 0.05


class Errand(NamedTuple):
    """One errand of one customer: its run, and what chance brings."""

    member: int
    number: int
    run_id: str
    dice: random.Random
    recorder: Recorder

    async def ask(self, op: str, run_id: str | None = None, /, **sent: Any) -> Any:
        """Call until it is known what became of it; return None if it was refused."""
        while True:
            try:
                return await self.recorder.call(op, run_id, **sent)
            except UnavailableError:
                await asyncio.sleep(AGAIN_S)
            except (ConflictError, NotFoundError, HookExpired):
                return None

    async def about(self, op: str, **sent: Any) -> Any:
        """Ask about the errand's run."""
        return await self.ask(op, self.run_id, **sent)

    async def pause_for(self, most_s: float) -> None:
        """Let some time pass, and sometimes look at the run."""
        await asyncio.sleep(self.dice.random() * most_s)
        if self.dice.random() < 0.3:
            await self.about(self.dice.choice(("get_run", "get_events")))

    async def until_over(self, run_id: str | None = None) -> Any:
        """Wait for the end of the run. One that kept losing its worker is paused: it may go on."""
        run_id = run_id or self.run_id
        while True:
            with contextlib.suppress(TimeoutError):
                return await self.ask("wait", run_id, timeout="5s")
            if (await self.ask("get_run", run_id)).status == "paused":
                await self.ask("resume", run_id)


async def mixed(errand: Errand) -> None:
    """Three signals, some sent twice, and events of its own."""
    key = {"idempotency_key": f"key-{errand.run_id}"} if errand.number % 2 else {}
    await errand.about("trigger", workflow="mixed", input={"sleep_ms": errand.dice.randrange(20, 400)}, **key)
    for number in range(3):
        await errand.pause_for(0.2)
        for _ in range(errand.dice.choice((1, 1, 2))):
            await errand.about("send_signal", name="n", payload=number, signal_id=f"n-{number}")
        await errand.about("emit_event", event_type="noted", payload=f"{errand.run_id}/{number}")
    await errand.until_over()


async def asks(errand: Errand) -> None:
    """Answers a hook in two ways at once: one of them counts."""
    await errand.about("trigger", workflow="asks", delay=f"{errand.dice.randrange(200)}ms")
    while not (hooks := await errand.about("get_hooks")):
        run = await errand.about("get_run")
        if run.is_over:
            return
        await asyncio.sleep(AGAIN_S)
    answers = [errand.ask("execute_hook", token=hooks[0].token, payload=f"{errand.run_id}/{way}") for way in ("yes", "no")]
    await asyncio.gather(*answers)
    await errand.until_over()


async def family(errand: Errand) -> None:
    """A tree of runs, sometimes cancelled with its children."""
    await errand.about("trigger", workflow="family")
    if errand.dice.random() < 0.3:
        await errand.pause_for(0.4)
        await errand.about("cancel", reason="no more")
    await errand.until_over()


async def cancels(errand: Errand) -> None:
    """Cancels a run at any moment."""
    await errand.about("trigger", workflow="long", input={"steps": 40})
    await errand.pause_for(1.0)
    await errand.about("cancel")
    await errand.about("send_signal", name="too-late", payload=errand.run_id, signal_id="too-late")
    await errand.until_over()


async def pauses(errand: Errand) -> None:
    """Pauses a run, looks, and resumes it."""
    await errand.about("trigger", workflow="long", input={"steps": 12})
    await errand.pause_for(0.3)
    await errand.about("pause")
    await errand.pause_for(0.3)
    while True:
        # Also where somebody else paused it: a run that kept losing its worker.
        await errand.about("resume")
        with contextlib.suppress(TimeoutError):
            if await errand.ask("wait", errand.run_id, timeout="1s") is not None:
                return


async def retries(errand: Errand) -> None:
    """Retries a run that has failed."""
    await errand.about("trigger", workflow="shaky")
    while (await errand.until_over()).status == "failed":
        await errand.about("retry")


async def books(errand: Errand) -> None:
    """A run that is undone, because it fails or is cancelled; or not."""
    await errand.about("trigger", workflow="booking", input={"fails": errand.dice.random() < 0.4})
    if errand.dice.random() < 0.6:
        await errand.pause_for(0.5)
        await errand.about("cancel", reason="no more")
    await errand.until_over()


async def fills(errand: Errand) -> None:
    """Lets a run reach the end of its history, with events from outside in between."""
    await errand.about("trigger", workflow="bounded", max_events=25)
    for number in range(6):
        await errand.pause_for(0.05)
        await errand.about("emit_event", event_type="noted", payload=f"{errand.run_id}/{number}")
    await errand.until_over()


async def races(errand: Errand) -> None:
    """Sends signals about when a sleep is over."""
    await errand.about("trigger", workflow="raced")
    for number in range(2):
        await errand.pause_for(0.25)
        await errand.about("send_signal", name="n", payload=number, signal_id=f"n-{number}")
    await errand.until_over()


async def comes_late(errand: Errand) -> None:
    """Waits for a deadline."""
    await errand.about("trigger", workflow="late", execution_timeout="700ms")
    await errand.until_over()


async def joins(errand: Errand) -> None:
    """Starts a run or joins it: which of the two, nobody knows."""
    run_id = f"shared-{errand.number}"
    payload = {"member": errand.member}
    await errand.ask("signal_with_start", run_id, workflow="shared", input=None, signal_name="join", payload=payload)


async def keys(errand: Errand) -> None:
    """Triggers with a key that others use at the same time, sometimes with another input."""
    given = "other" if errand.dice.random() < 0.3 else "same"
    for _ in range(3):
        run = await errand.ask("trigger", workflow="keyed", input=given, idempotency_key=f"everybody-{errand.number}")
    if run is not None:
        await errand.until_over(run.run_id)


Kind = Callable[[Errand], Coroutine[Any, Any, None]]
OWN: Final[tuple[Kind, ...]] = (mixed, asks, family, cancels, pauses, retries, books, fills, races, comes_late)
"""Errands with a run of their own."""
TOGETHER: Final[tuple[Kind, ...]] = (joins, keys)
"""Errands that customers with the same list have together."""
