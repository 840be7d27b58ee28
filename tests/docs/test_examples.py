"""Every file in examples/, run as ``python examples/x.py``, prints what it is expected to."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from stepwell import ExecutionTimeoutError, MaxEventsError, RunFailed, errors
from tests.docs.programs import run
from tests.house.tree import ROOT

EXAMPLES = ROOT / "examples"

PRINTED = {
    "approval": """
        paid 120
        {'status': 'approved'}
        told them: too much
        {'status': 'rejected', 'reason': 'too much'}
    """,
    "batch_processing": """
        {'total': 6, 'succeeded': 5, 'failed': 1}
        completed
    """,
    "cancel": """
        reminder 1
        cancelled they have paid
        a run that is over is over: conflict
    """,
    "circuit_breaker": """
        completed 285
        failed stepwell.errors.MaxEventsError
        failed stepwell.errors.ExecutionTimeoutError
    """,
    "compensation": """
        booked a flight
        booked a hotel
        gave back a hotel
        gave back a flight
        LookupError: there are no cars there (in step 'book')
        booked a train
        booked a tent
        gave back a tent
        gave back a train
        cancelled it rains
    """,
    "custom_run_id": """
        custom-run-id-123
        made by the second trigger: False
        {'run': 'custom-run-id-123', 'doubled': 42}
    """,
    "data_pipeline": """
        to ada@example.org: Profile updated
        {'success': True}
        Europe/Lisbon
    """,
    "document_approval": """
        document-approval approve {'documentId': 'report'}
        published report
        {'published': True}
        document-approval approve {'documentId': 'rumour'}
        ValueError: document rejected
    """,
    "parent_child": """
        LookupError: there is no such thing
        12
        ['completed', 'completed', 'completed', 'failed']
        True
    """,
    "error_callback": """
        alert: RuntimeError: the disk is full
        2 attempts: RuntimeError: the disk is full (in step 'process-data')
    """,
    "events": """
        1 run_created
        2 run_started
        3 step-started
        4 step_completed workflow.emit_event
        5 step_completed process-data
        6 step-completed
        7 step_completed workflow.emit_event
        8 run_completed
    """,
    "fan_in": """
        {'count': 100, 'sum': 338350}
    """,
    "fan_out": """
        {'results': [{'id': 1, 'upper': 'ONE'}, {'id': 2, 'upper': 'TWO'}, {'id': 3, 'upper': 'THREE'}]}
    """,
    "fork": """
        fetching what takes an hour
        {'sum': 55}
        {'largest': 10}
        it shares 3 events with the first: True
    """,
    "generate_report": """
        report weekly is at https://reports.example.org/weekly
        weekly
    """,
    "idempotency": """
        the same run: True; made by the second trigger: False
        refused: conflict
        {'charged': 'order-1'} ['order-1']
    """,
    "monitoring": """
        run_created
        run_started
        signal_received
        step_completed
        run_completed
        failed True ValueError: nobody to greet (in step 'greet')
        ['hello, Ada']
        It is over: completed
    """,
    "order_processing": """
        to ada@example.org: Order confirmed
        {'shipped': True, 'charged': 31, 'parcel': 'parcel-of-order-7'}
        LookupError: there is no order 'order-8' (in step 'validate-order')
    """,
    "rate_limit": """
        processed a
        processed b
        processed c
        {'processed': 3} in 3 s or more: True
    """,
    "retries": """
        attempt 1
        attempt 2
        attempt 3
        {'attempts': 3}
    """,
    "step_errors": """
        careful: {'paid': 10}
        careful: {'paid': 0, 'why': '5000 is over the limit'}
        careless: failed, ValueError: 5000 is over the limit (in step 'risky-operation')
    """,
    "step_parameters": """
        [{'processed': True, 'length': 3}, {'processed': True, 'length': 3}, 108.0]
    """,
    "welcome_email": """
        to ada@example.org: Welcome, Ada!
        {'success': True, 'userId': 'user-123'}
    """,
    "workflow_errors": """
        completed []
        failed ['it did not work']
    """,
}


def test_every_example_is_covered():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PRINTED)


@pytest.mark.parametrize("url", [None, "sqlite:///runs.db"], ids=["memory", "file"])
@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_should(name: str, url: str | None, tmp_path: Path):
    expected = [line.strip() for line in PRINTED[name].strip().splitlines()]
    assert [line.rstrip() for line in run(str(EXAMPLES / f"{name}.py"), folder=tmp_path, url=url)] == expected
    assert (tmp_path / "runs.db").exists() == (url is not None)


def module_of(name: str) -> Any:
    """Return an example, loaded anew, with a client of its own."""
    spec = importlib.util.spec_from_file_location(f"examples.{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def approval() -> Any:
    return module_of("approval")


@pytest.fixture
def circuit_breaker() -> Any:
    return module_of("circuit_breaker")


@pytest.fixture
def order_processing() -> Any:
    return module_of("order_processing")


async def test_an_approval_that_comes_before_the_run_asks_for_it_is_kept(approval: Any):
    workflows = approval.client.workflow
    async with approval.client:
        run = await workflows.trigger(approval.approval_workflow, [{"amount": 1}])
        await workflows.send_signal(run.run_id, "manager-approval", {"approved": True})
        async with approval.client.worker(approval.approval_workflow):
            assert await workflows.result(run) == {"status": "approved"}
        steps = [event.name for event in await workflows.get_events(run.run_id) if event.event_type == "step_completed"]
    assert steps == ["request-expense", "process-payment"]


async def test_a_rejected_expense_is_not_paid(approval: Any):
    workflows = approval.client.workflow
    async with approval.client, approval.client.worker(approval.approval_workflow):
        run = await workflows.trigger(approval.approval_workflow, [{"amount": 1}])
        await workflows.send_signal(run.run_id, "manager-approval", {"approved": False, "reason": "no"})
        assert await workflows.result(run) == {"status": "rejected", "reason": "no"}
        steps = [event.name for event in await workflows.get_events(run.run_id) if event.event_type == "step_completed"]
    assert steps == ["request-expense", "notify-rejection"]


async def test_the_circuit_breaker_ends_a_run_with_its_last_event_and_by_its_deadline(circuit_breaker: Any):
    workflows = circuit_breaker.client.workflow
    async with circuit_breaker.client, circuit_breaker.client.worker(circuit_breaker.data_processing):
        runaway = await workflows.trigger(circuit_breaker.data_processing, {"count": 1_000, "rest": "0s"})
        assert (runaway.max_events, runaway.execution_timeout) == (100, 60_000)
        with pytest.raises(RunFailed) as failure:
            await workflows.result(runaway)
        assert failure.value.is_a(MaxEventsError)
        history = await workflows.get_events(runaway.run_id)
        assert (len(history), history[-1].event_type) == (100, "run_failed")

        sleeper = await workflows.trigger(circuit_breaker.data_processing, {"count": 1, "rest": "1h"}, execution_timeout="50ms")
        with pytest.raises(RunFailed, match="timeout") as failure:
            await workflows.result(sleeper)
        assert failure.value.is_a(ExecutionTimeoutError)


async def test_a_payment_that_keeps_failing_fails_the_order_and_ships_nothing(
    order_processing: Any, monkeypatch: pytest.MonkeyPatch
):
    class Broken(dict[str, Any]):
        def setdefault(self, key: str, default: Any = None) -> Any:
            raise errors.NonRetryableError("the card was refused")

    monkeypatch.setattr(order_processing, "payments", Broken())
    workflows = order_processing.client.workflow
    async with order_processing.client, order_processing.client.worker(order_processing.process_order):
        run = await workflows.trigger(order_processing.process_order, [{"orderId": "order-7"}])
        over = await workflows.wait(run.run_id)
        steps = [event.name for event in await workflows.get_events(run.run_id) if event.event_type == "step_completed"]
    assert (over.status, over.error_details.step, over.error_details.attempts) == ("failed", "process-payment", 1)
    assert steps == ["validate-order"]
