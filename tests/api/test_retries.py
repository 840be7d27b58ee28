"""When a step is tried again, how often, and after how long."""

import asyncio
import datetime as dt
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from stepwell import (
    AsyncClient,
    Event,
    NonRetryableError,
    Settings,
    StepFailed,
    StepTimeout,
    current_step,
    step,
    workflow,
)
from tests.api.tools import cases, events_of, executed, seen, types_of, waits_for
from tests.clients import PATIENCE_S


def failing(error: Callable[[], BaseException], times: int) -> Callable[[], Any]:
    """Return a body that fails so many times and then says at which attempt it came through."""

    async def body() -> int:
        if current_step().attempt <= times:
            raise error()
        return current_step().attempt

    return body


def delay_of(event: Event) -> float:
    """Return how long a recorded retry was to wait, in milliseconds."""
    return (dt.datetime.fromisoformat(event.payload["nextAt"]) - event.created_at) / dt.timedelta(milliseconds=1)


async def test_three_retries_mean_at_most_four_attempts(client: AsyncClient):
    attempts: list[int] = []

    async def body() -> None:
        attempts.append(current_step().attempt)
        raise ConnectionError("down")

    @workflow("retries-four")
    async def wf(ctx):
        await step("call", body, retries=3, retry_delay=0)()

    run = await executed(client, wf)
    assert attempts == [1, 2, 3, 4]
    assert run.error_details is not None
    assert run.error_details.attempts == 4
    retrying = await events_of(client, run.run_id, "step_retrying")
    assert [event.payload["attempt"] for event in retrying] == [1, 2, 3]
    assert all(event.payload["error"]["message"] == "down" for event in retrying)


async def test_an_attempt_that_succeeds_is_the_steps_result(client: AsyncClient):
    @workflow("retries-succeed")
    async def wf(ctx):
        return await step("call", failing(lambda: OSError("once more"), 2), retries=3, retry_delay=1)()

    run = await executed(client, wf)
    assert run.output == 3
    (completed,) = await events_of(client, run.run_id, "step_completed")
    assert completed.payload["attempt"] == 3


async def test_without_retries_there_is_one_attempt(client: AsyncClient):
    @workflow("retries-none")
    async def wf(ctx):
        await step("call", failing(lambda: OSError("never again"), 9))()

    run = await executed(client, wf)
    assert run.error_details is not None
    assert run.error_details.attempts == 1
    assert "step_retrying" not in await types_of(client, run.run_id)


class GivesUp(NonRetryableError):
    pass


@pytest.mark.parametrize("kind", [NonRetryableError, GivesUp])
async def test_a_non_retryable_error_ends_it_whatever_retries_says(client: AsyncClient, kind: type[Exception]):
    @workflow("retries-non-retryable")
    async def wf(ctx):
        try:
            await step("call", failing(lambda: kind("card stolen"), 9), retries=5, retry_delay=0, retry_on=Exception)()
        except StepFailed as error:
            return [error.attempts, error.message, error.is_a(NonRetryableError)]

    assert (await executed(client, wf)).output == [1, "card stolen", True]


@cases(
    ("retry_on", "attempts"),
    [(OSError, 3), (ConnectionError, 3), ((KeyError, ConnectionError), 3), (ValueError, 1), ((), 1)],
)
async def test_retry_on_limits_retries_to_some_errors(client: AsyncClient, retry_on: Any, attempts: int):
    @workflow("retries-on")
    async def wf(ctx):
        try:
            await step("call", failing(lambda: ConnectionError("down"), 9), retries=2, retry_delay=0, retry_on=retry_on)()
        except StepFailed as error:
            return error.attempts

    assert (await executed(client, wf)).output == attempts


async def test_the_delay_grows_by_the_backoff_up_to_its_maximum(client: AsyncClient):
    @workflow("retries-backoff")
    async def wf(ctx):
        body = failing(lambda: OSError("down"), 5)
        return await step("call", body, retries=5, retry_delay=4, backoff=2, max_retry_delay="15ms")()

    run = await executed(client, wf)
    assert run.output == 6
    assert [delay_of(event) for event in await events_of(client, run.run_id, "step_retrying")] == [4, 8, 15, 15, 15]


async def test_no_attempt_begins_before_its_time(client: AsyncClient):
    # promise 7
    begun: list[int] = []

    async def body() -> None:
        begun.append(round(dt.datetime.now(dt.UTC).timestamp() * 1_000_000))
        if current_step().attempt < 4:
            raise OSError("down")

    @workflow("retries-never-early")
    async def wf(ctx):
        await step("call", body, retries=3, retry_delay="17ms")()

    run = await executed(client, wf)
    due = [
        dt.datetime.fromisoformat(event.payload["nextAt"]).timestamp() * 1_000_000
        for event in await events_of(client, run.run_id, "step_retrying")
    ]
    assert all(at >= when for at, when in zip(begun[1:], due, strict=True))


async def test_jitter_adds_up_to_its_fraction_of_the_delay_and_never_takes_away(client: AsyncClient):
    @workflow("retries-jitter")
    async def wf(ctx):
        await step("call", failing(lambda: OSError("down"), 9), retries=8, retry_delay=8, jitter=1.0)()

    run = await executed(client, wf)
    delays = [delay_of(event) for event in await events_of(client, run.run_id, "step_retrying")]
    assert all(8 <= delay <= 16 for delay in delays)
    assert len(set(delays)) > 1


async def test_jitter_does_not_exceed_the_maximal_delay(client: AsyncClient):
    @workflow("retries-jitter-max")
    async def wf(ctx):
        body = failing(lambda: OSError("down"), 9)
        await step("call", body, retries=5, retry_delay=8, jitter=1_000, max_retry_delay=9)()

    run = await executed(client, wf)
    assert all(8 <= delay_of(event) <= 9 for event in await events_of(client, run.run_id, "step_retrying"))


class TooMany(Exception):
    def __init__(self, retry_after: Any) -> None:
        super().__init__("too many requests")
        self.retry_after = retry_after


@cases(("retry_after", "delay"), [(0.03, 30), ("20ms", 20), (dt.timedelta(milliseconds=10), 10), (0, 0)])
async def test_an_error_with_retry_after_sets_the_delay(client: AsyncClient, retry_after: Any, delay: int):
    @workflow("retries-after")
    async def wf(ctx):
        return await step("call", failing(lambda: TooMany(retry_after), 1), retries=1, retry_delay="1h")()

    run = await executed(client, wf)
    assert run.output == 2
    (event,) = await events_of(client, run.run_id, "step_retrying")
    assert delay_of(event) == delay


@cases("retry_after", ["Wed, 21 Oct 2015 07:28:00 GMT", -1, float("nan"), None, object(), True])
async def test_a_retry_after_that_is_no_duration_leaves_the_policys_delay(client: AsyncClient, retry_after: Any):
    @workflow("retries-after-bad")
    async def wf(ctx):
        return await step("call", failing(lambda: TooMany(retry_after), 1), retries=1, retry_delay=7)()

    run = await executed(client, wf)
    assert run.output == 2
    (event,) = await events_of(client, run.run_id, "step_retrying")
    assert delay_of(event) == 7


async def test_an_error_whose_retry_after_raises_is_retried_all_the_same(client: AsyncClient):
    class Nasty(Exception):
        @property
        def retry_after(self) -> float:
            raise RuntimeError("even this fails")

    @workflow("retries-after-raises")
    async def wf(ctx):
        return await step("call", failing(Nasty, 1), retries=1, retry_delay=7)()

    assert (await executed(client, wf)).output == 2


# -- long delays


@pytest.mark.parametrize("settings", [Settings(keep_ms=0, waiting_shown_ms=1)], ids=["evicted"])
async def test_a_long_delay_evicts_the_run_and_the_count_goes_on(client: AsyncClient):
    attempts: list[int] = []
    lives = itertools.count(1)
    begun: list[int] = []

    async def body() -> str:
        attempts.append(current_step().attempt)
        if current_step().attempt < 4:
            raise OSError("down")
        return "up"

    @workflow("retries-evicted")
    async def wf(ctx):
        begun.append(next(lives))
        return await step("call", body, retries=3, retry_delay="200ms")()

    assert (await executed(client, wf)).output == "up"
    assert attempts == [1, 2, 3, 4]
    # Where evicting takes longer than the delay, the next attempt is made in the same life.
    assert len(begun) > 1, "attempts were made in lives of their own"


async def test_a_restart_neither_forgets_the_count_nor_restarts_the_delay(client: AsyncClient):
    attempts: list[int] = []

    async def body() -> None:
        attempts.append(current_step().attempt)
        raise OSError("down")

    @workflow("retries-restart")
    async def wf(ctx):
        await step("call", body, retries=1, retry_delay="1h")()

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        before = (await waits_for(client, run.run_id, "retry")).waiting_for
    async with client.worker(wf):
        after = (await waits_for(client, run.run_id, "retry")).waiting_for
        assert "retry" in (await client.workflow.why(run.run_id)) or "tried again" in (await client.workflow.why(run.run_id))
        await client.workflow.cancel(run.run_id)
    assert before is not None
    assert before == after
    (event,) = await events_of(client, run.run_id, "step_retrying")
    assert before.until == dt.datetime.fromisoformat(event.payload["nextAt"])
    assert before.name == "call"
    assert attempts == [1]


async def test_a_step_that_waits_for_its_retry_holds_up_no_other_branch(client: AsyncClient):
    @workflow("retries-parallel")
    async def wf(ctx):
        return await ctx.parallel(
            [
                step("slow", failing(lambda: OSError("down"), 1), retries=1, retry_delay="1s"),
                step("quick", failing(lambda: OSError("down"), 0)),
            ]
        )

    run = await executed(client, wf)
    assert run.output == [2, 1]
    assert [event.name for event in await events_of(client, run.run_id, "step_completed")] == ["quick", "slow"]


# -- on_error


async def test_on_error_gets_the_original_exception_once_before_the_failure_is_recorded(client: AsyncClient):
    told: list[tuple[BaseException, list[str]]] = []
    raised: list[OSError] = []

    async def body() -> None:
        raised.append(OSError("down"))
        raise raised[-1]

    @workflow("retries-on-error")
    async def wf(ctx):
        async def tell(error: Exception) -> None:
            told.append((error, await types_of(client, ctx.run_id)))

        await step("call", body, retries=2, retry_delay=0, on_error=tell)()

    run = await executed(client, wf)
    ((error, events),) = told
    assert error is raised[2]
    assert events.count("step_retrying") == 2
    assert "step_failed" not in events
    assert run.error is not None
    assert "down" in run.error


async def test_on_error_may_be_a_plain_function(client: AsyncClient):
    told: list[Exception] = []

    @workflow("retries-on-error-plain")
    async def wf(ctx):
        await step("call", failing(lambda: OSError("down"), 9), on_error=told.append)()

    await executed(client, wf)
    assert [str(error) for error in told] == ["down"]


async def test_on_error_is_not_called_when_the_step_comes_through(client: AsyncClient):
    told: list[Exception] = []

    @workflow("retries-on-error-not")
    async def wf(ctx):
        return await step("call", failing(lambda: OSError("down"), 1), retries=1, retry_delay=0, on_error=told.append)()

    assert (await executed(client, wf)).output == 2
    assert told == []


async def test_an_on_error_that_raises_is_logged_and_does_not_hide_the_steps_error(
    client: AsyncClient, caplog: pytest.LogCaptureFixture
):
    async def tell(error: Exception) -> None:
        raise RuntimeError("the pager is broken")

    @workflow("retries-on-error-raises")
    async def wf(ctx):
        await step("call", failing(lambda: OSError("down"), 9), on_error=tell)()

    run = await executed(client, wf)
    assert run.error is not None
    assert "OSError: down" in run.error
    assert any(record.levelno >= logging.ERROR and record.exc_info for record in caplog.records)


async def test_on_error_is_not_called_again_on_replay(client: AsyncClient):
    told: list[Exception] = []

    @workflow("retries-on-error-replayed")
    async def wf(ctx):
        try:
            await step("call", failing(lambda: OSError("down"), 9), on_error=told.append)()
        except StepFailed:
            await ctx.wait_for_signal("go")
        return "done"

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await seen(client, run.run_id, "step_failed")
    async with client.worker(wf):
        await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "done"
    assert len(told) == 1


# -- time-outs


async def test_an_attempt_that_takes_too_long_is_cancelled_and_fails_as_step_timeout(client: AsyncClient):
    cancelled: list[bool] = []

    async def sleepy() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    @workflow("timeouts-async")
    async def wf(ctx):
        try:
            await step("sleepy", sleepy, timeout="20ms")()
        except StepFailed as error:
            return [error.is_a(StepTimeout), error.is_a(TimeoutError), error.type, error.message]

    run = await executed(client, wf)
    assert run.output[:2] == [True, True]
    assert "20 ms" in run.output[3]
    assert cancelled == [True]


async def test_a_time_out_bounds_one_attempt_and_is_retried_like_any_error(client: AsyncClient):
    async def sleepy() -> int:
        if current_step().attempt < 3:
            await asyncio.Event().wait()
        return current_step().attempt

    @workflow("timeouts-retried")
    async def wf(ctx):
        return await step("sleepy", sleepy, timeout=20, retries=2, retry_delay=0)()

    run = await executed(client, wf)
    assert run.output == 3
    retrying = await events_of(client, run.run_id, "step_retrying")
    assert [event.payload["error"]["type"] for event in retrying] == ["stepwell.errors.StepTimeout"] * 2


async def test_a_time_out_that_the_body_raises_itself_is_no_step_timeout(client: AsyncClient):
    @workflow("timeouts-own")
    async def wf(ctx):
        try:
            await step("own", failing(lambda: TimeoutError("the server's"), 9), timeout="1h")()
        except StepFailed as error:
            return [error.is_a(TimeoutError), error.is_a(StepTimeout), error.message]

    assert (await executed(client, wf)).output == [True, False, "the server's"]


async def test_a_thread_cannot_be_stopped_but_its_late_result_is_discarded(client: AsyncClient):
    release, ended = threading.Event(), threading.Event()

    def stubborn() -> str:
        assert release.wait(PATIENCE_S)
        ended.set()
        return "too late"

    @workflow("timeouts-thread")
    async def wf(ctx):
        try:
            await step("stubborn", stubborn, timeout="20ms")()
        except StepFailed as error:
            outcome = error.type
        await ctx.wait_for_signal("go")
        return outcome

    async with client.worker(wf):
        run = await client.workflow.trigger(wf)
        await seen(client, run.run_id, "step_failed")
        release.set()
        await asyncio.to_thread(ended.wait, PATIENCE_S)
        await client.workflow.send_signal(run.run_id, "go")
        assert await client.workflow.result(run.run_id, PATIENCE_S) == "stepwell.errors.StepTimeout"
    assert "step_completed" not in await types_of(client, run.run_id)


async def test_a_step_that_is_in_time_is_left_alone(client: AsyncClient):
    @workflow("timeouts-in-time")
    async def wf(ctx):
        return await step("quick", failing(OSError, 0), timeout="1h")()

    assert (await executed(client, wf)).output == 1
