"""``python -m tests.chaos [--short] [--seed N]``: longer runs of the proofs, with real processes, and what was seen."""

import argparse
import asyncio
import faulthandler
import os
import random
import sys
import time
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final, NamedTuple

from hypothesis import HealthCheck, given, seed, settings

from tests.chaos.checked import SETTINGS, CheckedStorm, Scale, prove
from tests.chaos.cluster import Cluster, NotInstalledError
from tests.chaos.network import Network, NotPermittedError
from tests.chaos.places import OneCluster, OneFile, OneNetwork, OneServer
from tests.chaos.served import ManyServers
from tests.chaos.server import Server
from tests.chaos.storm import Storm
from tests.crash.lives import PLACES
from tests.crash.shapes import SHAPES
from tests.crash.test_sigkill import kill_at_random
from tests.crash.test_sweep import EVICTED, KEPT, WAITING, on_postgres, sweep
from tests.laws.plans import plans
from tests.laws.test_laws import check_all, cuts_made_up, drops_made_up, engine, pauses_made_up
from tests.laws.test_machine import play
from tests.powerloss.proof import LONG as LONG_POWER
from tests.powerloss.proof import Form as PowerForm
from tests.powerloss.proof import record_lives, sweep_lives
from tests.powerloss.sweep import compile_library
from tests.secrets import secrets_in


class Form(NamedTuple):
    """How much of each."""

    kills: int
    killed_runs: int
    storm_runs: int
    storms: int
    checked: Scale
    examples: int
    sequences: int
    power: PowerForm


EVIDENCE: Final = Path(gettempdir()) / "stepwell-chaos"
"""Where all that was seen is kept if a promise was broken."""
HANGS_S: Final = {True: 900, False: 4 * 3600}
"""A proof that takes longer hangs: it shows where, and ends the process. By whether it is the short form."""

SHORT_STORM: Final = Scale(workers=3, members=2, errands=32, seconds=8, each=1)
LONG_STORM: Final = Scale(workers=3, members=3, errands=64, seconds=240, each=20)
SHORT: Final = Form(10, 100, 150, 1, SHORT_STORM, 500, 2_000, PowerForm(count=12, torn=2, audit_every=200))
LONG: Final = Form(100, 1_000, 600, 5, LONG_STORM, 20_000, 50_000, LONG_POWER)


def _kill(form: Form, number: int, folder: Path) -> str:
    kills = asyncio.run(
        kill_at_random(folder, random.Random(number), kills_wanted=form.kills, runs_wanted=form.killed_runs)
    )  # fmt: skip
    return f"{len(kills)} kills, at {len(set(kills))} kinds of places"


def _storm(form: Form, number: int, folder: Path) -> str:
    told: list[str] = []
    for turn in range(form.storms):
        part = folder / str(turn)
        part.mkdir()
        storm = Storm(part, random.Random(f"{number}/{turn}"), runs=form.storm_runs, workers=3)
        asyncio.run(storm.blow())
        told.append(", ".join(f"{name}: {count}" for name, count in sorted(storm.seen.items()) if count))
        missing = [name for name in ("frozen", "killed", "stopped", "fenced", "reaped.runs") if not storm.seen[name]]
        if missing:
            told.append(f"    NOT TESTED, for it never happened: {', '.join(missing)}")
    return "\n    ".join(told)


def _checker(form: Form, number: int, folder: Path) -> str:
    storm = CheckedStorm(folder, OneFile(folder), random.Random(number), form.checked)
    return asyncio.run(prove(storm, EVIDENCE / f"checker-{number}"))


def _postgres(form: Form, number: int, folder: Path) -> str:
    async def blow() -> str:
        place = OneServer(server)
        storm = CheckedStorm(folder, place, random.Random(number), form.checked)
        try:
            return await prove(storm, EVIDENCE / f"postgres-{number}")
        finally:
            await place.close()

    with Server() as server:
        return asyncio.run(blow())


def _served(form: Form, number: int, folder: Path) -> str:
    async def blow() -> str:
        place = ManyServers(server, folder, 3, SETTINGS)
        scale = form.checked._replace(workers=6, each=max(1, form.checked.each // 2))
        storm = CheckedStorm(folder, place, random.Random(number), scale)
        try:
            await place.open()
            return await prove(storm, EVIDENCE / f"served-{number}")
        finally:
            await place.close()

    with Server() as server:
        return asyncio.run(blow())


def _address(server: Server) -> str:
    return f"postgresql://postgres@127.0.0.1:{server.port}/postgres"


def _sweep(form: Form, number: int, folder: Path) -> str:
    with Server() as server, on_postgres(_address(server)) as fresh:
        for name, shape in SHAPES.items():
            for place in PLACES:
                sweep(shape, place, EVICTED if name in WAITING else KEPT, fresh)
    return f"died at every commit of {len(SHAPES)} shapes on PostgreSQL"


def _partition(form: Form, number: int, folder: Path) -> str:
    names = [f"worker-{place}" for place in range(form.checked.workers)]
    try:
        with Network("store", *names) as network, _on(network) as server:
            storm = CheckedStorm(folder, OneNetwork(network, server), random.Random(number), form.checked)
            return asyncio.run(prove(storm, EVIDENCE / f"partition-{number}"))
    except NotPermittedError as error:
        return f"NOT TESTED: {error}"


def _on(network: Network) -> Server:
    return Server(enter=network.enter("store"), listen=network.address("store"))


def _failover(form: Form, number: int, folder: Path) -> str:
    try:
        with Cluster() as cluster:
            scale = form.checked._replace(seconds=30, each=5)
            storm = CheckedStorm(folder, OneCluster(cluster), random.Random(number), scale)
            return asyncio.run(prove(storm, EVIDENCE / f"failover-{number}"))
    except NotInstalledError as error:
        return f"NOT TESTED: {error}"


def _laws(form: Form, number: int, folder: Path) -> str:
    def hold_in(url: str, keep_ms: int, examples: int) -> None:
        with engine(url, keep_ms=keep_ms) as (runner, client):

            @seed(number)
            @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(plan=plans, pauses=pauses_made_up, drops=drops_made_up, cuts=cuts_made_up)
            def hold(plan, pauses, drops, cuts):  # type: ignore[no-untyped-def]
                runner.run(check_all(client, plan, pauses, drops, cuts))

            hold()

    few = form.examples // 5
    with Server() as server, on_postgres(_address(server)) as fresh:
        for keep_ms in (5_000, 0):
            hold_in("memory://", keep_ms, form.examples)
            hold_in(fresh(), keep_ms, few)
    return f"{2 * form.examples} plans in memory, {2 * few} on PostgreSQL"


def _machine(form: Form, number: int, folder: Path) -> str:
    play(form.sequences, number=number)
    with Server() as server:
        os.environ.setdefault("STEPWELL_HOOK_KEY", "a secret that the nodes share")
        play(form.sequences // 5, number=number, database=_address(server))
    return f"{form.sequences} sequences in memory and in files, {form.sequences // 5} on PostgreSQL, and no difference"


def _power(form: Form, number: int, folder: Path) -> str:
    scratch = folder.resolve()
    record_lives(form.power, compile_library(scratch), scratch)
    report = sweep_lives(form.power, scratch, seed=number).run()
    assert not report.losses, "\n".join(map(str, report.losses))
    return str(report)


PROOFS: Final[dict[str, Callable[[Form, int, Path], str]]] = {
    "kill": _kill, "storm": _storm, "checker": _checker, "postgres": _postgres, "served": _served, "sweep": _sweep,
    "partition": _partition, "failover": _failover, "laws": _laws, "machine": _machine, "power": _power,
}  # fmt: skip
SHORT_ONES: Final = ["machine", "kill", "storm", "checker", "postgres", "served", "laws", "power"]
"""What the short form does where nothing is named: the longest first."""
AT_ONCE: Final = 2
"""Short proofs that go on side by side: storms wait more than they compute."""


def prove_one(name: str, form: Form, number: int, hangs_s: int) -> None:
    """Play one proof here, and print what was seen."""
    began = time.monotonic()
    faulthandler.dump_traceback_later(hangs_s, exit=True)
    with TemporaryDirectory() as place:
        text = PROOFS[name](form, number, Path(place))
        for log in Path(place).rglob("log-*"):
            assert secrets_in(log.read_text("utf-8", errors="replace")) == [], f"{name}: {log.name} tells secrets"
    faulthandler.cancel_dump_traceback_later()
    print(f"{name}: {text} ({time.monotonic() - began:.0f} s)", flush=True)


async def prove_side_by_side(names: list[str], number: int) -> bool:
    """Play short proofs, each in a process of its own, so many at once; tell whether all held."""
    room = asyncio.Semaphore(AT_ONCE)

    async def prove_apart(name: str) -> bool:
        async with room:
            command = (sys.executable, "-m", "tests.chaos", "--short", "--seed", str(number), name)
            process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
            said, _ = await process.communicate()
            print(said.decode().removeprefix(f"seed {number}\n"), end="", flush=True)
            return process.returncode == 0

    return all(await asyncio.gather(*map(prove_apart, names)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="for some minutes")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="what chance brings (drawn)")
    parser.add_argument("proofs", nargs="*", choices=[[], *PROOFS], help="which (all)")
    told = parser.parse_args()
    print(f"seed {told.seed}", flush=True)
    if told.short and len(told.proofs) != 1:
        sys.exit(not asyncio.run(prove_side_by_side(told.proofs or SHORT_ONES, told.seed)))
    for proof in told.proofs or PROOFS:
        prove_one(proof, SHORT if told.short else LONG, told.seed, HANGS_S[told.short])
