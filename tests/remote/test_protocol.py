"""The worker protocol, spoken by hand: what is answered, what is refused, and how a connection ends."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from stepwell import AsyncClient, Settings
from stepwell.remote.frames import MESSAGE_BYTES_MAX
from tests.api.tools import seen, types_of
from tests.background import Background, served_aside
from tests.clients import PATIENCE_S

HELLO = {"type": "hello", "versions": [1], "workflows": [["by-hand", ""]], "credit": 5}
AT = 1_900_000_000_000


class Hand:
    """A worker of frames that a test writes."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.heard: list[dict[str, Any]] = []

    async def say(self, *frames: dict[str, Any]) -> None:
        await self.socket.send_str(json.dumps(frames))

    async def hear(self, kind: str) -> dict[str, Any]:
        """Return the next frame of a type; what comes before it is passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while self.heard:
                    frame = self.heard.pop(0)
                    if frame["type"] == kind:
                        return frame
                message = await self.socket.receive()
                assert message.type is aiohttp.WSMsgType.TEXT, (message, self.socket.close_code)
                self.heard += json.loads(message.data)

    async def ended(self) -> tuple[int | None, str]:
        """Return how the connection ended."""
        async with asyncio.timeout(PATIENCE_S):
            while (message := await self.socket.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        return self.socket.close_code, str(message.extra)


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Hand]:
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{url}/api/workflows/worker", protocols=["stepwell.v1"]) as socket:
            yield Hand(socket)


@pytest.fixture
def server(file_url: str, settings: Settings) -> Iterator[Background]:
    """A server that is patient with a worker that sends no heartbeats."""
    with served_aside(file_url, settings, worker_silence_ms=60_000) as server:
        yield server


@pytest.fixture
async def hand(server: Background) -> AsyncIterator[Hand]:
    """A connection on which nothing was said yet."""
    async with connected(server.url) as hand:
        yield hand


def event(kind: str, step_id: str = "", payload: Any = None) -> dict[str, Any]:
    return {"type": kind, "at": AT, "stepId": step_id, "name": step_id, "payload": payload or {}}


async def test_a_run_is_assigned_recorded_and_ended_by_hand(hand: Hand, direct: AsyncClient):
    await hand.say(HELLO)
    welcome = await hand.hear("welcome")
    assert welcome["version"] == 1
    assert welcome["limits"]["messageBytesMax"] == MESSAGE_BYTES_MAX
    run = await direct.workflow.trigger("by-hand", {"big": 12345678901234567890123})
    assigned = await hand.hear("assign")
    assert assigned["input"] == {"big": 12345678901234567890123}
    here = {"runId": run.run_id, "turn": assigned["turn"]}
    step = event("step_completed", "a", {"result": 1, "attempt": 1, "startedAt": AT, "durationMs": 0})
    await hand.say({"type": "progress", **here, "no": 1, "events": [step]})
    settled = await hand.hear("settled")
    assert (settled["no"], settled["seq"], settled.get("refused", "")) == (1, 3, "")
    await hand.say({"type": "progress", **here, "no": 1, "events": [step]})
    assert await hand.hear("settled") == settled, "what was committed is answered as committed, and not done again"
    end = {"status": "completed", "event": event("run_completed", payload={"output": 2})}
    await hand.say({"type": "progress", **here, "no": 2, "final": end}, {"type": "done", **here})
    settled = await hand.hear("settled")
    assert (settled["no"], settled["seq"], settled.get("refused", "")) == (2, 4, "")
    assert await direct.workflow.result(run.run_id, PATIENCE_S) == 2
    await hand.say({"type": "progress", **here, "no": 3, "events": [step]})
    assert (await hand.hear("settled"))["refused"] == "guard"
    assert await types_of(direct, run.run_id) == ["run_created", "run_started", "step_completed", "run_completed"]
    await hand.say({"type": "bye"})
    await hand.hear("bye")
    assert await hand.ended() == (1000, "good-bye")


async def test_no_more_runs_come_than_there_is_credit(hand: Hand, direct: AsyncClient):
    await hand.say({**HELLO, "credit": 1})
    runs = [await direct.workflow.trigger("by-hand") for _ in range(3)]
    first = await hand.hear("assign")
    await hand.say({"type": "beat", "no": 1})
    await hand.hear("lease")
    assert hand.heard == []
    await hand.say({"type": "room", "credit": 3})
    assert {first["runId"], (await hand.hear("assign"))["runId"], (await hand.hear("assign"))["runId"]} == {
        run.run_id for run in runs
    }


async def test_a_run_that_is_dropped_goes_to_the_next(hand: Hand, direct: AsyncClient):
    await hand.say({**HELLO, "credit": 1})
    await hand.hear("welcome")
    await direct.workflow.trigger("by-hand")
    first = await hand.hear("assign")
    await hand.say({"type": "done", "runId": first["runId"], "turn": first["turn"]}, {"type": "room", "credit": 2})
    again = await hand.hear("assign")
    assert (again["runId"], again["turn"] > first["turn"]) == (first["runId"], True)


async def test_a_beat_is_answered_with_a_lease_and_the_time(hand: Hand):
    await hand.say(HELLO)
    welcome = await hand.hear("welcome")
    await hand.say({"type": "beat", "no": 7})
    lease = await hand.hear("lease")
    assert lease["no"] == 7
    assert 0 < lease["ms"] <= 800
    assert lease["now"] >= welcome["now"]


async def test_who_comes_back_holds_what_it_names_and_is_told_what_it_has_lost(
    hand: Hand, server: Background, direct: AsyncClient
):
    await hand.say(HELLO)
    session = (await hand.hear("welcome"))["session"]
    runs = [await direct.workflow.trigger("by-hand") for _ in range(3)]
    held = [await hand.hear("assign") for _ in runs]
    await direct.workflow.cancel(runs[1].run_id)
    async with connected(server.url) as again:
        kept = [[frame["runId"], frame["turn"]] for frame in held[:2]]
        await again.say({**HELLO, "credit": 0, "session": session, "holds": [*kept, ["unknown", 1]]})
        assert (await again.hear("welcome"))["resumed"]
        told = [await again.hear("interrupt"), await again.hear("interrupt")]
        assert [(frame["runId"], frame["reason"]) for frame in told] == [(runs[1].run_id, "cancelled"), ("unknown", "lost")]
        assert (await hand.ended())[0] == 4409
        await again.say({"type": "room", "credit": 1})
        assert (await again.hear("assign"))["runId"] == runs[2].run_id, "it did not name it: it is free for others"


async def test_another_session_does_not_touch_what_this_one_holds(hand: Hand, server: Background, direct: AsyncClient):
    await hand.say(HELLO)
    run = await direct.workflow.trigger("by-hand")
    assigned = await hand.hear("assign")
    async with connected(server.url) as other:
        await other.say({**HELLO, "credit": 0})
        end = {"status": "completed", "event": event("run_completed", payload={"output": 0})}
        await other.say({"type": "progress", "runId": run.run_id, "turn": assigned["turn"], "no": 1, "final": end})
        assert (await other.hear("settled"))["refused"] == "guard"
        await other.say({"type": "done", "runId": run.run_id, "turn": assigned["turn"]}, {"type": "beat", "no": 1})
        await other.hear("lease")
    assert (await direct.workflow.get_run(run.run_id)).status == "running"
    await seen(direct, run.run_id, "run_started")


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [
        ("{}", 1003, "Expected `array`"),
        ("nonsense", 1003, "malformed"),
        ("[" * 100_000, 1003, ""),
        ('[{"type":"nope"}]', 1003, "nope"),
        ('[{"type":"hello"}]', 1003, "versions"),
        ('[{"type":"hello","versions":[1],"workflows":[["a"]]}]', 1003, "workflows"),
        ("[]", 1008, "first frame must be a hello"),
        ('[{"type":"beat","no":1}]', 1008, "first frame must be a hello"),
        ('[{"type":"hello","versions":[2],"workflows":[]}]', 4406, "version 1"),
        ([HELLO, HELLO], 1008, "a second hello"),
        ([HELLO, {"type": "beat", "no": -1}], 1003, ""),
    ],
)
async def test_what_is_not_said_here_closes_the_connection_with_the_reason(hand: Hand, said: Any, code: int, reason: str):
    # promise 14
    await hand.socket.send_str(said if isinstance(said, str) else json.dumps(said))
    ended = await hand.ended()
    assert ended[0] == code
    assert reason in ended[1]


async def test_binary_closes_the_connection(hand: Hand):
    await hand.socket.send_bytes(b"[]")
    assert (await hand.ended())[0] == 1003


async def test_a_message_over_the_limit_closes_the_connection(hand: Hand):
    # trap 38
    await hand.socket.send_str("[" + " " * MESSAGE_BYTES_MAX + "]")
    assert (await hand.ended())[0] == 1009


@pytest.mark.parametrize(
    ("progress", "reason"),
    [
        ({"events": [event("run_completed")]}, "a worker does not record"),
        ({"events": [event("my-own")]}, "a worker does not record"),
        ({"final": {"status": "completed", "event": event("run_failed")}}, "'completed'"),
        ({"events": [event("step_completed", payload={"result": "\0"})]}, "U+0000"),
        ({"events": [event("step_completed", payload={"result": "x" * 1_200_000})]}, "1,"),
        ({"no": 2}, "progress 2"),
    ],
)
async def test_what_no_worker_records_closes_the_connection_and_stores_nothing(
    hand: Hand, direct: AsyncClient, progress: dict[str, Any], reason: str
):  # fmt: skip
    # promise 14
    await hand.say(HELLO)
    run = await direct.workflow.trigger("by-hand")
    assigned = await hand.hear("assign")
    frame = {"type": "progress", "runId": run.run_id, "turn": assigned["turn"], "no": 1, **progress}
    text = json.dumps(frame)
    for start in range(0, len(text), 200_000):
        last = start + 200_000 >= len(text)
        await hand.say({"type": "part", "text": text[start : start + 200_000], "last": last})
    code, said = await hand.ended()
    assert code == 1008
    assert reason in said
    assert await types_of(direct, run.run_id) == ["run_created", "run_started"]


async def test_a_subprotocol_is_needed(server: Background):
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{server.url}/api/workflows/worker")
    assert refused.value.status == 400
