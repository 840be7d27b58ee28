"""What a failure that happened elsewhere still tells of its class."""

import pytest

from stepwell import AsyncClient, CircuitBreakerError, MaxEventsError, RunFailed, step, workflow


@workflow("errors-too-many", max_events=4)
async def too_many(ctx):
    while True:
        await step("again", lambda: None)()


@workflow("errors-lookup")
async def lookup(ctx):
    raise KeyError("colour")


async def test_a_failed_run_tells_what_kind_of_error_it_was():
    async with AsyncClient("memory://") as client, client.worker(too_many, lookup):
        run = await client.workflow.trigger(too_many)
        with pytest.raises(RunFailed) as failed:
            await client.workflow.result(run.run_id, timeout=30)
        assert failed.value.is_a(MaxEventsError)
        assert failed.value.is_a(CircuitBreakerError)
        assert not failed.value.is_a(LookupError)

        run = await client.workflow.trigger(lookup)
        with pytest.raises(RunFailed) as failed:
            await client.workflow.result(run.run_id, timeout=30)
        assert failed.value.is_a(LookupError)
        assert not failed.value.is_a(CircuitBreakerError)
