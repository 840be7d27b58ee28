"""A client that writes down what it asks, before, and what it was told, after. Its lines survive its death."""

import asyncio
import itertools
import os
from pathlib import Path
from typing import Any

import msgspec

from stepwell import AsyncClient, StepwellError, UnavailableError
from stepwell.model import Event, Hook, Page, Run
from tests.checker.records import Call, Ended, Outcome, boot_ns


class Recorder:
    """Calls of one process, written to a file of its own in ``folder``."""

    def __init__(self, client: AsyncClient, folder: Path) -> None:
        self._client = client
        self._numbers = itertools.count(1)
        self._file = os.open(folder / f"{os.getpid()}-{boot_ns()}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def call(self, op: str, run_id: str | None = None, /, **sent: Any) -> Any:
        """Call a method of ``client.workflow``, of which the first argument is the run's id wherever ``run_id`` is given
        (``trigger`` takes it by name).

        Raises:
            StepwellError: As the method does.
        """
        number = next(self._numbers)
        self._write(Call(pid=os.getpid(), number=number, op=op, run_id=run_id, sent=sent, began_ns=boot_ns()))
        try:
            result = await self._asked(op, run_id, sent)
        except UnavailableError as error:
            self._ended(number, "error" if error.outcome_known else "unknown", error.code)
            raise
        except StepwellError as error:
            self._ended(number, "error", error.code)
            raise
        except (TimeoutError, asyncio.CancelledError):
            self._ended(number, "unknown", "timeout")
            raise
        self._ended(number, "ok", told=told_of(result))
        return result

    async def _asked(self, op: str, run_id: str | None, sent: dict[str, Any]) -> Any:
        workflow = self._client.workflow
        method = getattr(workflow, op)
        if op in {"trigger", "signal_with_start"}:
            return await method(**({"run_id": run_id} if run_id is not None else {}), **sent)
        return await (method(**sent) if run_id is None else method(run_id, **sent))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _ended(self, number: int, outcome: Outcome, code: str = "", told: Any = None) -> None:
        self._write(Ended(number=number, ended_ns=boot_ns(), outcome=outcome, code=code, told=told))

    def _write(self, record: msgspec.Struct) -> None:
        os.write(self._file, msgspec.json.encode(record) + b"\n")


def told_of(result: Any) -> Any:
    """Return in short what a call returned: what the checks compare."""
    match result:
        case Run():
            return {
                "run_id": result.run_id, "status": result.status, "event_count": result.event_count, "created": result.created,
                "attempt": result.attempt, "output": result.output,
            }  # fmt: skip
        case Hook():
            return {"run_id": result.run_id, "hook": result.name, "state": result.state, "answer": result.answer}
        case Event():
            return {"run_id": result.run_id, "event_id": result.event_id, "seq": result.seq}
        case Page():
            return [told_of(item) for item in result]
        case list():
            return [[item.seq, item.event_type, item.step_id] if isinstance(item, Event) else told_of(item) for item in result]
        case _:
            return None
