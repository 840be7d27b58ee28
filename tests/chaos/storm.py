"""Workers on one file that are killed, frozen past their leases, told to stop and replaced at random, while clients go on."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Final

from stepwell import AsyncClient, UnavailableError
from stepwell.model import Run
from tests.crash.workers import Worker, effects

LEASE_MS: Final = 1_000
_STEPS: Final = ["first", *(f"parallel#0/{n}/in{again}" for n in range(2) for again in ("", "#1")), "unsure"]


class Storm:
    """One file, its workers, and what happened to them."""

    def __init__(self, folder: Path, dice: random.Random, *, runs: int, workers: int) -> None:
        self.seen: Counter[str] = Counter()
        """How often what was done to workers, and how often they took a rare branch."""
        self._folder = folder
        self._dice = dice
        self._runs = runs
        self._workers = workers
        self._frozen_ones: set[int] = set()
        self._is_over = False

    async def blow(self) -> None:
        """See all runs through, and more until each thing was done to a worker a few times; check what is left."""
        async with AsyncClient(f"sqlite:///{self._folder}/store.db") as client:
            places = [asyncio.create_task(self._place()) for _ in range(self._workers)]
            runs: list[Run] = []
            while not runs or min(self.seen[name] for name in ("frozen", "killed", "stopped")) < 3:
                more = [f"run-{len(runs) + number}" for number in range(self._runs)]
                runs += await asyncio.gather(*(self._customer(client, run_id) for run_id in more))
            self._is_over = True
            await asyncio.gather(*places)
            await self._check(client, runs)

    async def _customer(self, client: AsyncClient, run_id: str) -> Run:
        await asyncio.sleep(self._dice.random() * 5)
        while True:
            try:
                await client.workflow.trigger("mixed", run_id=run_id)
                for number in range(3):
                    await client.workflow.send_signal(run_id, "n", number, signal_id=f"n-{number}")
                return await client.workflow.wait(run_id)
            except UnavailableError:
                self.seen["unavailable"] += 1

    async def _place(self) -> None:
        """One worker after the other, until all is over; those that are told to stop tell which rare branches they took."""
        while not self._is_over:
            worker = await Worker.start(self._folder, lease_ms=LEASE_MS, poll_ms=LEASE_MS // 4)
            await worker.until_ready()
            listening = asyncio.create_task(worker.until_gone())
            while not self._is_over and (ill := self._dice.choice(("frozen", "frozen", "killed", "stopped"))) == "frozen":
                await self._or_over(self._dice.random() * 0.8)
                await worker.freeze(self._folder / "store.db")
                self._frozen_ones.add(worker.pid)
                await self._or_over(self._dice.random() * 3 * LEASE_MS / 1000)
                worker.thaw()
                self.seen["frozen"] += 1
            await self._or_over(self._dice.random() * 0.8)
            if not self._is_over and ill == "killed":
                worker.send_kill()
                await listening
            else:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
                self.seen.update(await worker.stop())
            self.seen[ill] += not self._is_over

    async def _or_over(self, seconds: float) -> None:
        for _ in range(max(1, int(seconds / 0.05))):
            if not self._is_over:
                await asyncio.sleep(0.05)

    async def _check(self, client: AsyncClient, runs: list[Run]) -> None:
        starts: dict[tuple[str, str], list[tuple[int, str]]] = {}
        for effect in effects(self._folder):
            starts.setdefault((effect.run_id, effect.step_id), []).append((effect.pid, effect.nonce))
        for run in runs:
            assert run.status == "completed", run
            events = await client.workflow.get_events(run.run_id)
            recorded = {event.step_id: event.payload["result"] for event in events if event.event_type == "step_completed"}
            assert sorted(recorded) == sorted(_STEPS)
            assert sum(event.event_type == "step_completed" for event in events) == len(_STEPS)
            assert run.output == [[0, 1, 2], [recorded[step_id] for step_id in _STEPS]]
            for step_id, nonce in recorded.items():
                begun = starts[run.run_id, step_id]
                # What began after that was recorded began in a process that was frozen just before: the one stated exception.
                after = begun[[number for _, number in begun].index(nonce) + 1 :]
                assert {pid for pid, _ in after} <= self._frozen_ones, f"{step_id} of {run.run_id} began again"
                self.seen["began in a thawed process, refused"] += len(after)
                self.seen["began again"] += len(begun) - (3 if step_id == "unsure" else 1)
        assert await client.check_store() == []
