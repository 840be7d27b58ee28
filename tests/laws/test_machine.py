"""A machine that does things to runs at random, to an engine and on paper, and compares: states, results, histories, answers.

Triggers, signals, cancels, pauses, resumes, retries, forks, hook answers, events, workers that come and go, deaths of the node
between actions and at their commits, leaps of time.
"""

import itertools
import os
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from stepwell import AsyncClient, ConflictError, HookExpired
from tests import postgres
from tests.laws.paper import HOUR_MS, OPERATIONS, Paper, PaperRun
from tests.laws.played import PLACES, Played, must_be_refused, played

RUNS_MAX: Final = 3
STEPS: Final = 14

programs = st.lists(st.sampled_from(OPERATIONS), max_size=5)
which = st.integers(0, RUNS_MAX)
deaths = st.one_of(st.none(), st.none(), st.none(), st.tuples(st.sampled_from(PLACES), st.integers(1, 4)))


class Machine(RuleBasedStateMachine):
    """See the module. Half of the sequences are in memory; in the others a node may die: they have a file, or a ``database``."""

    database = ""

    def __init__(self) -> None:
        super().__init__()
        self.paper = Paper()
        self.numbers = itertools.count()
        self.place = ExitStack()
        self.outlives_nodes = False
        self.real: Played | None = None

    @initialize(outlives_nodes=st.booleans(), works=st.booleans())
    def open(self, outlives_nodes: bool, works: bool) -> None:
        self.outlives_nodes = outlives_nodes
        self.real = Played(self._lasting() if outlives_nodes else "memory://")
        if works:
            self.work()

    def _lasting(self) -> str:
        if self.database:
            return self.place.enter_context(postgres.cleared_schema(self.database))
        # Nobody pulls the plug here: a file in memory does, where there is one, and is fast.
        folder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        return f"sqlite:///{self.place.enter_context(folder)}/a.db"

    def teardown(self) -> None:
        with self.place:
            if self.real is not None:
                self.real.close()

    # -- what they have in common

    def _run(self, number: int) -> PaperRun:
        runs = list(self.paper.runs.values())
        return runs[number % len(runs)]

    def _do(
        self, on_paper: Callable[[], None], action: Callable[[AsyncClient], Awaitable[Any]], death: tuple[str, int] | None = None
    ) -> None:
        """Do it here and there; the answers must be the same, and what becomes of it."""
        assert self.real is not None
        must_fail = must_be_refused(on_paper)
        death = death if self.outlives_nodes else None
        try:
            self.real.act(action, death)
            has_failed = False
        except (ConflictError, HookExpired):
            has_failed = True
        # What was done once before a death may be refused, or accepted, the second time; what it led to is compared.
        assert has_failed == must_fail or death is not None, f"refused: {has_failed}, on paper {must_fail}"
        self.settle()

    def settle(self) -> None:
        assert self.real is not None
        self.paper.settle()
        self.real.compare(self.paper)

    # -- actions

    @rule(program=programs, timeout=st.sampled_from([None, None, HOUR_MS * 7 // 4]), death=deaths)
    def trigger(self, program: list[str], timeout: int | None, death: Any) -> None:
        if sum(run.parent is None for run in self.paper.runs.values()) >= RUNS_MAX:
            return
        run_id = f"run-{next(self.numbers)}"
        self._do(
            lambda: self.paper.trigger(run_id, program, timeout),
            lambda client: client.workflow.trigger(played, program, run_id=run_id, execution_timeout=timeout),
            death,
        )

    @precondition(lambda self: self.paper.runs)
    @rule(number=which, death=deaths, again=st.booleans())
    def signal(self, number: int, death: Any, again: bool) -> None:
        run, payload = self._run(number), next(self.numbers)
        signal_id = f"signal-{payload}"
        self._do(
            lambda: self.paper.signal(run, payload),
            lambda client: client.workflow.send_signal(run.run_id, "go", payload, signal_id=signal_id),
            death,
        )
        if again and not run.is_over and not run.ending:
            self._do(lambda: None, lambda client: client.workflow.send_signal(run.run_id, "go", -1, signal_id=signal_id))

    @precondition(lambda self: self.paper.runs)
    @rule(number=which)
    def answer(self, number: int) -> None:
        run, payload = self._run(number), next(self.numbers)
        if self.paper.hook(run) is not None:
            self._do(lambda: self.paper.answer(run, payload), lambda client: _answer(client, run.run_id, payload))

    @precondition(lambda self: self.paper.runs)
    @rule(number=which)
    def emit(self, number: int) -> None:
        run = self._run(number)
        self._do(lambda: self.paper.emit(run), lambda client: client.workflow.emit_event(run.run_id, "noted", None))

    @precondition(lambda self: self.paper.runs)
    @rule(number=which, death=deaths, what=st.sampled_from(["cancel", "pause", "resume", "retry"]))
    def steer(self, number: int, death: Any, what: str) -> None:
        run = self._run(number)
        self._do(
            lambda: getattr(self.paper, what)(run), lambda client: getattr(client.workflow, what)(run.run_id), death
        )  # fmt: skip

    @precondition(lambda self: self.paper.runs)
    @rule(number=which)
    def fork(self, number: int) -> None:
        run = self._run(number)
        if "child" in run.operations or run.unread or run.unsure or len(self.paper.runs) > RUNS_MAX + 1 or run.parent is not None:
            return
        run_id = f"fork-{next(self.numbers)}"
        self._do(lambda: self.paper.fork(run, run_id), lambda client: client.workflow.fork(run.run_id, run_id=run_id))

    @rule(half_hours=st.integers(1, 4))
    def time(self, half_hours: int) -> None:
        assert self.real is not None
        for _ in range(half_hours):
            self.paper.now_ms += HOUR_MS // 2
            self.real.pass_time(HOUR_MS // 2)
            self.settle()

    @precondition(lambda self: not self.paper.is_working)
    @rule()
    def work(self) -> None:
        assert self.real is not None
        self.real.work()
        self.paper.is_working = True
        self.settle()

    @precondition(lambda self: self.paper.is_working)
    @rule()
    def rest(self) -> None:
        assert self.real is not None
        self.real.rest()
        self.paper.is_working = False

    @precondition(lambda self: self.outlives_nodes)
    @rule()
    def die(self) -> None:
        assert self.real is not None
        self.real.die()
        self.settle()


async def _answer(client: AsyncClient, run_id: str, payload: int) -> None:
    hooks = await client.workflow.get_hooks(run_id)
    if not hooks:
        raise ConflictError("it is another run's: a fork has none of those that were answered before")
    await client.workflow.execute_hook(hooks[-1].token, payload)


def play(sequences: int, *, number: int | None = None, database: str = "") -> None:
    """Play so many sequences, half of them in files or in this database of PostgreSQL."""
    machine = type("Machine", (Machine,), {"database": database})
    run_state_machine_as_test(
        machine if number is None else seed(number)(machine),
        settings=settings(
            max_examples=sequences, stateful_step_count=STEPS, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def test_an_engine_does_what_is_on_paper():
    play(100)


def test_an_engine_on_postgresql_does_what_is_on_paper(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STEPWELL_HOOK_KEY", "a secret that the nodes share")
    play(50, database=postgres_dsn)
