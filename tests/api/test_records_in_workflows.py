"""Collections in workflows: what a body writes is written exactly once; in a step everything is a plain call."""

import asyncio
from typing import Any

import pytest

from stepwell import (
    AsyncClient,
    Client,
    ConflictError,
    Context,
    NotFoundError,
    PayloadTooLargeError,
    RecordPage,
    Settings,
    StepFailed,
    step,
    workflow,
)
from stepwell.errors import StepwellError, ValidationError


@pytest.fixture
def settings() -> Settings:
    """Waiting runs are thrown away, so that every wait is followed by a replay."""
    return Settings(keep_ms=0, waiting_shown_ms=1)


async def run(client: AsyncClient, fn: Any, *, signals: int = 0, **options: Any) -> Any:
    """Run a function as a workflow, with so many replays."""
    made = workflow(fn.__qualname__, **options)(fn)
    async with client.worker(made):
        started = await client.workflow.trigger(made)
        for n in range(signals):
            await client.workflow.send_signal(started.run_id, "go", n)
        return await client.workflow.wait(started.run_id)


async def _waits_for(client: AsyncClient, run_id: str, kind: str) -> str:
    """Return what a run shows once it waits for something of this kind."""
    engine: Any = await client.engine()
    while True:
        # A client of a server is told of nothing: it asks again.
        moved = engine.watchers.for_move(run_id) if hasattr(engine, "watchers") else None
        shown = await client.workflow.get_run(run_id)
        if shown.waiting_for is not None and shown.waiting_for.kind == kind:
            return f"{shown.waiting_for} {shown.error}"
        await (asyncio.sleep(0.01) if moved is None else moved)


async def test_what_a_body_writes_is_written_once_however_often_it_is_replayed(client: AsyncClient):
    notes = client.collection("notes")

    async def body(ctx: Context) -> Any:
        made = await notes.create({"n": 1})
        await ctx.wait_for_signal("go")
        changed = await notes.update(made["id"], {"n": 2}, if_match=made)
        upserted = await notes.upsert({"id": "u", "n": 1})
        await ctx.wait_for_signal("go")
        many = await notes.create_many([{"id": "m1"}, {"id": "m2"}])
        await notes.update_many([{"id": "m1", "n": 1}])
        await notes.delete("m1")
        await notes.delete_many(["m2"])
        await ctx.wait_for_signal("go")
        return [made, changed, upserted, many]

    ended = await run(client, body, signals=3)
    made, changed, upserted, many = ended.output
    assert await notes.get_full_list() == [changed, upserted]
    assert (made["n"], changed["n"]) == (1, 2)
    assert [record["id"] for record in many] == ["m1", "m2"]
    assert await (await client.engine()).records.place("notes") == 7
    names = [event.name for event in await client.workflow.get_events(ended.run_id) if event.event_type == "step_completed"]
    assert names == [
        "collection.create", "collection.update", "collection.upsert", "collection.create_many", "collection.update_many",
        "collection.delete", "collection.delete_many",
    ]  # fmt: skip


async def test_what_is_refused_fails_the_call_the_same_way_each_time(client: AsyncClient):
    notes = client.collection("notes")
    await client.collections.update("notes", indexes=[{"fields": ["n"], "unique": True}])

    async def body(ctx: Context) -> Any:
        seen: list[Any] = []
        await notes.create({"id": "a", "n": 1})
        for call in (
            lambda: notes.create({"id": "a"}),
            lambda: notes.create({"n": 1}),
            lambda: notes.update("nobody", {}),
            lambda: notes.delete("nobody"),
            lambda: notes.get_one("nobody"),
            lambda: notes.get_list(filter="n = "),
            lambda: notes.create_many([{"id": "b"}, {"id": "a"}]),
        ):
            try:
                await call()
            except StepFailed as error:
                seen.append([error.step, error.message, [error.is_a(kind) for kind in (NotFoundError, ConflictError)]])
        await ctx.wait_for_signal("go")
        return seen

    ended = await run(client, body, signals=1)
    assert [(step_name, kinds) for step_name, _, kinds in ended.output] == [
        ("collection.create", [False, True]),
        ("collection.create", [False, True]),
        ("collection.update", [True, False]),
        ("collection.delete", [True, False]),
        ("collection.get_one", [True, False]),
        ("collection.get_list", [False, False]),
        ("collection.create_many", [False, True]),
    ]
    assert await notes.count() == 1


async def test_what_is_read_in_a_body_is_read_once(client: AsyncClient):
    notes = client.collection("notes")
    await notes.create_many([{"id": f"r{n}", "n": n} for n in range(5)])

    async def body(ctx: Context) -> Any:
        page = await notes.get_list(filter="n > 1", sort="-n")
        assert isinstance(page, RecordPage)
        one, first, count = await notes.get_one("r0"), await notes.get_first("n = 3"), await notes.count()
        walked = [record["n"] async for record in notes.iter_list(batch=2)]
        await ctx.wait_for_signal("go")
        return [[record["n"] for record in page], one["n"], first["n"], count, walked]

    made = workflow("records-read")(body)
    async with client.worker(made):
        started = await client.workflow.trigger(made)
        await _waits_for(client, started.run_id, "signal")
        await notes.delete_many([f"r{n}" for n in range(5)])
        await client.workflow.send_signal(started.run_id, "go", 1)
        assert await client.workflow.result(started) == [[4, 3, 2], 0, 3, 5, [0, 1, 2, 3, 4]]


async def test_in_a_step_everything_is_a_plain_call(client: AsyncClient, url: str):
    notes = client.collection("notes")

    async def body(ctx: Context) -> Any:
        page = await step("page", lambda: notes.get_list())()
        made = await step("make", lambda: notes.create({"n": 1}))()
        return [page, made]

    ended = await run(client, body)
    page, made = ended.output
    if url.startswith("http"):
        # What is recorded within a value comes back as plain JSON.
        assert page["items"] == []
    else:
        assert page == RecordPage(items=[], page=1, per_page=30, total_items=0, total_pages=0)
    assert made == await notes.get_one(made["id"])
    events = await client.workflow.get_events(ended.run_id)
    assert [event.name for event in events if event.event_type == "step_completed"] == ["page", "make"]


async def test_a_write_that_would_be_the_event_too_many_is_not_done(client: AsyncClient):
    # promise 10
    notes = client.collection("notes")

    async def body(ctx: Context) -> None:
        while True:
            await ctx.parallel([lambda: notes.create({}) for _ in range(3)])

    ended = await run(client, body, max_events=9)
    assert ended.error is not None
    assert "limit of 9 events" in ended.error
    events = await client.workflow.get_events(ended.run_id)
    assert len(events) == 9
    recorded = [event.payload["result"]["id"] for event in events if event.event_type == "step_completed"]
    assert sorted(record["id"] for record in await notes.get_full_list()) == sorted(recorded)


async def test_many_branches_write_at_once_in_as_many_commits_as_it_takes(client: AsyncClient):
    notes = client.collection("notes")

    async def body(ctx: Context) -> Any:
        made = await ctx.parallel([lambda n=n: notes.create({"id": f"r{n}", "n": n}) for n in range(200)])
        await ctx.wait_for_signal("go")
        return [record["n"] for record in made]

    ended = await run(client, body, signals=1)
    assert ended.output == list(range(200))
    assert await notes.count() == 200
    assert await (await client.engine()).records.place("notes") == 200


async def test_what_is_written_at_once_is_no_more_than_may_be_recorded(client: AsyncClient):
    notes = client.collection("notes")
    text = "x" * 300_000

    async def body(ctx: Context) -> Any:
        with pytest.raises(PayloadTooLargeError):
            await notes.create_many([{"text": text}] * 4)
        await notes.create_many([{"id": f"r{n}", "text": text} for n in range(3)])
        await notes.create({"id": "r3", "text": text})
        with pytest.raises(StepFailed) as failed:  # what is given is short, and what would be recorded is not
            await notes.update_many([{"id": f"r{n}", "n": 1} for n in range(4)])
        return failed.value.is_a(PayloadTooLargeError)

    assert (await run(client, body)).output is True
    assert await notes.count("n = 1") == 0


async def test_a_fork_writes_nothing_again_that_it_shares(client: AsyncClient):
    notes = client.collection("notes")

    async def body(ctx: Context) -> Any:
        made = await notes.create({"n": 1})
        await ctx.wait_for_signal("go")
        return [made["id"], (await notes.create({"n": 2}))["id"]]

    made = workflow("records-forked")(body)
    async with client.worker(made):
        started = await client.workflow.trigger(made)
        await _waits_for(client, started.run_id, "signal")
        forked = await client.workflow.fork(started.run_id)
        outputs: list[Any] = []
        for each in (started.run_id, forked.run_id):
            await client.workflow.send_signal(each, "go")
            outputs.append(await client.workflow.result(each))
    (shared, first), (again, second) = outputs
    assert shared == again
    assert {record["id"] for record in await notes.get_full_list()} == {shared, first, second}


async def test_what_cannot_be_replayed_says_so(client: AsyncClient):
    notes = client.collection("notes")

    async def body(ctx: Context) -> Any:
        seen: list[str] = []
        for call in (
            lambda: notes.subscribe(),
            lambda: client.collections.update("notes", indexes=["n"]),
            lambda: client.collections.list(),
        ):
            try:
                await call()  # type: ignore[misc]
            except StepwellError as error:
                seen.append(str(error))
        return seen

    said = (await run(client, body)).output
    assert [text.partition(":")[0] for text in said] == [
        "subscribe cannot be replayed",
        "what is settled for collections is not for workflows",
        "what is settled for collections is not for workflows",
    ]


async def test_what_is_wrong_with_an_argument_is_raised_at_once_and_not_recorded(client: AsyncClient):
    async def body(ctx: Context) -> Any:
        for call in (
            lambda: client.collection("notes").create([]),
            lambda: client.collection("notes").get_list(page=0),
            lambda: client.collection("notes").get_one(""),
        ):
            with pytest.raises(ValidationError):
                await call()

    ended = await run(client, body)
    assert ended.status == "completed"
    assert ended.event_count == 3


async def test_other_data_than_is_recorded_does_not_fit(client: AsyncClient):
    # promise 5
    notes = client.collection("notes")
    value = [1]

    async def body(ctx: Context) -> None:
        await notes.create({"n": value[0]})
        value[0] += 1
        await ctx.wait_for_signal("go")

    made = workflow("records-misfit")(body)
    async with client.worker(made):
        started = await client.workflow.trigger(made)
        assert await _waits_for(client, started.run_id, "signal")
        await client.workflow.send_signal(started.run_id, "go")
        assert "collection.create" in (await _waits_for(client, started.run_id, "code"))
        assert await notes.count() == 1
        await client.workflow.cancel(started.run_id)


async def test_another_client_than_the_workers_is_recorded_as_a_step(client: AsyncClient, tmp_path: Any):
    async with AsyncClient(f"sqlite:///{tmp_path / 'elsewhere.db'}") as elsewhere:
        notes = elsewhere.collection("notes")

        async def body(ctx: Context) -> Any:
            made = await notes.create({"n": 1})
            await ctx.wait_for_signal("go")
            return made

        ended = await run(client, body, signals=1)
        assert await notes.get_full_list() == [ended.output]
        assert await client.collection("notes").count() == 0


def test_the_blocking_client_does_the_same(file_url: str):
    with Client(file_url) as client:
        notes = client.collection("notes")
        made = notes.create({"n": 1})
        assert notes.get_one(made["id"]) == made
        assert notes.update(made["id"], {"n": 2}, if_match=made)["n"] == 2
        notes.create_many([{"id": "a", "n": 3}, {"id": "b"}])
        notes.upsert_many([{"id": "a", "n": 4}])
        notes.update_many([{"id": "b", "n": 5}])
        assert notes.upsert({"id": "c", "n": 6})["id"] == "c"
        assert [record["n"] for record in notes.iter_list(sort="n", batch=2)] == [2, 4, 5, 6]
        assert [record["n"] for record in notes.get_full_list(filter=notes.filter("n > {:n}", n=4), sort="n")] == [5, 6]
        assert notes.get_list(1, 1).total_items == notes.count() == 4
        assert notes.get_first("n = 5")["id"] == "b"
        with notes.subscribe() as changes:
            notes.delete("a")
            assert next(changes).action == "delete"
        notes.delete_many(["b", "c"])
        assert client.collections.update("notes", indexes=["n"]).indexes[0].ready
        assert client.collections.get("notes") == client.collections.list()[0]
