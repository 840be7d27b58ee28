"""What is written down is what was asked and told; also by a process that died meanwhile."""

from pathlib import Path

import pytest

from stepwell import AsyncClient, ConflictError
from tests.checker.recorder import Recorder
from tests.checker.records import FOREVER_NS, Call, read_calls


async def recorded(folder: Path) -> list[Call]:
    async with AsyncClient("memory://") as client:
        recorder = Recorder(client, folder)
        run = await recorder.call("trigger", "r", workflow="w", input=[1], idempotency_key="k")
        await recorder.call("send_signal", run.run_id, name="n", payload=1, signal_id="n-1")
        await recorder.call("cancel", run.run_id)
        with pytest.raises(ConflictError):
            await recorder.call("send_signal", run.run_id, name="n", payload=2)
        await recorder.call("get_events", run.run_id)
        recorder.close()
    return sorted(read_calls(folder.iterdir()), key=lambda call: call.number)


async def test_calls_are_written_with_their_outcomes(tmp_path: Path):
    trigger, signal, cancel, refused, events = await recorded(tmp_path)
    assert (trigger.op, trigger.run_id, trigger.outcome) == ("trigger", "r", "ok")
    assert trigger.sent == {"workflow": "w", "input": [1], "idempotency_key": "k"}
    assert (trigger.told["run_id"], trigger.told["created"]) == ("r", True)
    assert (signal.outcome, signal.told) == ("ok", None)
    assert (cancel.told["status"], cancel.target) == ("cancelled", "r")
    assert (refused.outcome, refused.code) == ("error", "conflict")
    assert [kind for _, kind, _ in events.told] == ["run_created", "run_cancelled"]
    assert trigger.began_ns < trigger.ended_ns < signal.began_ns


async def test_a_call_without_an_end_is_one_of_which_nobody_knows_the_outcome(tmp_path: Path):
    await recorded(tmp_path)
    (file,) = tmp_path.iterdir()
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:3]))
    whole, cut = sorted(read_calls([file]), key=lambda call: call.number)
    assert (whole.op, whole.outcome) == ("trigger", "ok")
    assert (cut.op, cut.outcome, cut.ended_ns) == ("send_signal", "unknown", FOREVER_NS)
