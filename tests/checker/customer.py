"""A process of customers: ``python -m tests.checker.customer FOLDER URL SEED MEMBER LIST COUNT``.

It does the errands of one list, some at a time, and ends. What it asks and is told goes to a file in ``FOLDER/calls``, and its
counters to one in ``FOLDER`` at its end.
"""

import asyncio
import json
import os
import random
import sys
from pathlib import Path
from typing import Final

from stepwell import AsyncClient
from stepwell.failpoints import counters
from tests.checker.errands import OWN, TOGETHER, Errand
from tests.checker.recorder import Recorder
from tests.checker.records import boot_ns

AT_ONCE: Final = 12


async def serve(folder: Path, url: str, seed: str, member: int, list_number: int, count: int) -> None:
    """Do all errands of a list. The store may be away as it begins: the first calls find out, and try again."""
    client = AsyncClient(url)
    recorder = Recorder(client, folder / "calls")
    room = asyncio.Semaphore(AT_ONCE)

    async def run(number: int) -> None:
        async with room:
            kind = TOGETHER[number // 8 % len(TOGETHER)] if number % 8 == 7 else OWN[number % len(OWN)]
            dice = random.Random(f"{seed}/{member}/{list_number}/{number}")
            run_id = f"{kind.__name__}-{member}-{list_number}-{number}"
            await kind(Errand(member, list_number * 1_000 + number, run_id, dice, recorder))

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(run(number))
    await client.close()
    recorder.close()
    (folder / f"counters-{os.getpid()}-{boot_ns()}.json").write_text(json.dumps(counters), encoding="utf-8")


if __name__ == "__main__":
    folder, url, seed, *numbers = sys.argv[1:]
    asyncio.run(serve(Path(folder), url, seed, *map(int, numbers)))
