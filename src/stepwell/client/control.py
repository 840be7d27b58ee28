"""What can be done to a run from outside: cancel, pause, resume, retry, repair."""

from collections.abc import Sequence
from typing import Any, Final

from stepwell import codec
from stepwell.checks import check_int, check_name, check_run_id
from stepwell.client.recorded import Recorded, derived
from stepwell.client.requests import new_id, update_request
from stepwell.durations import Duration
from stepwell.engine.api import ForkRequest, UpdateRequest
from stepwell.errors import ValidationError
from stepwell.execution.branch import StepScope, current
from stepwell.execution.identity import fork_id
from stepwell.model import Run


class _Same:
    """Stands for a value that is not given."""

    def __repr__(self) -> str:
        return "the same"


SAME: Final = _Same()


class AsyncControl(Recorded):
    """See ``AsyncWorkflows``."""

    async def cancel(self, id: str, *, reason: str | None = None, children: bool = True) -> Run[Any]:
        """End a run as cancelled, and with ``children`` those of its children that it waits for, and theirs. One that is over
        already is returned as it is.

        Running async steps see ``CancelledError`` within a second, and no step starts any more.

        Raises:
            NotFoundError: There is no such run.
        """
        return await self._recorded("cancel", self._cancel, check_run_id(id, "id"), reason, children)

    async def _cancel(self, id: str, reason: str | None, children: bool) -> Run[Any]:
        return await (await self._client.engine()).cancel(id, reason, children)

    async def pause(self, id: str) -> Run[Any]:
        """Let a run rest until somebody resumes it. Running steps finish and are recorded, and no more start; the run is paused
        then. Messages are kept. One that is paused already is returned as it is.

        Raises:
            NotFoundError: There is no such run. ConflictError: it is over.
        """
        return await self._recorded("pause", self._pause, check_run_id(id, "id"))

    async def _pause(self, id: str) -> Run[Any]:
        return await (await self._client.engine()).pause(id)

    async def retry(self, id: str) -> Run[Any]:
        """Let a failed run go on, in the same history: the outcome that its error came from is voided, and what it came from is
        done again; a failed child that it waited for is retried too. ``attempt`` rises, ``execution_timeout`` begins anew.

        Raises:
            NotFoundError: There is no such run.
            ConflictError: It has not failed, was retried by somebody else, is full, or its parent is over.
        """
        return await self._recorded("retry", self._retry, check_run_id(id, "id"))

    async def _retry(self, id: str) -> Run[Any]:
        return await (await self._client.engine()).retry(id)

    async def fork(
        self, id: str, from_event: int | None = None, input: Any = SAME, *, run_id: str | None = None, version: str | None = None
    ) -> Run[Any]:
        """Make a new run of the same workflow that shares the history of a run up to an event, and goes on from there, with the
        same input or another. The run may be in any state, and is left alone.

        What is shared is not done again, and not compared with what the code asks for. What was open there begins anew: waits,
        children, and hooks, with tokens of their own; sleeps keep their end. Random numbers are the source's. The parent, the
        idempotency key and messages that the run has not read are not taken along.

        Args:
            from_event: The number of the last event that is shared. Not given: all that was recorded before the end, and before
                any compensation; of a failed run without the outcome that its error came from, as in ``retry``.
            input: Any JSON value, instead of the source's.
            run_id: The new run's id (drawn).
            version: The new run's version (the source's).

        Raises:
            NotFoundError: There is no such run.
            ValidationError: ``from_event`` is none of its events, or final.
            ConflictError: ``run_id`` is taken, or what is shared leaves no room in the history.

        Durability: stored on return.
        """
        check_run_id(id, "id")
        if from_event is not None:
            check_int(from_event, "from_event", 1, 2**53)
        if run_id is not None:
            check_run_id(run_id)
        if version is not None:
            check_name(version, "version")
        # As a list, so that what is recorded of the call's arguments tells null from nothing.
        inputs = [] if input is SAME else [input]
        return await self._recorded("fork", self._fork, id, from_event, inputs, run_id, version)

    async def _fork(
        self, id: str, from_event: int | None, inputs: list[Any], run_id: str | None, version: str | None
    ) -> Run[Any]:  # fmt: skip
        engine = await self._client.engine()
        texts = [
            codec.encode(value, field="input", limit_bytes=engine.settings.payload_bytes_max, depth_max=engine.settings.depth_max)
            for value in inputs
        ]
        scope = current.get()
        if run_id is None:
            # So that a step that is tried again does not make two forks.
            run_id = fork_id(derived(scope)) if isinstance(scope, StepScope) else new_id()
        request = ForkRequest(run_id=run_id, from_event=from_event, input=texts[0] if texts else None, version=version)
        return await engine.fork(id, request)

    async def set_step_result(self, id: str, step_id: str, value: Any, reason: str) -> Run[Any]:
        """Record the result of a step of a paused run by hand: replay takes it for the step's own.

        Args:
            step_id: The step's identity, as events show it: ``charge``, ``charge#1``, ``parallel#0/2/charge``; of its
                compensation ``compensate:charge``.
            value: Any JSON value.
            reason: Kept beside it, in the history.

        Raises:
            NotFoundError: There is no such run. ConflictError: it is not paused, or the step is completed.
        """
        check_run_id(id, "id")
        if not isinstance(step_id, str) or not step_id:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValidationError(f"step_id must be the identity of a step, not {step_id!r:.80}", field="step_id")
        return await self._recorded("set_step_result", self._set_step_result, id, step_id, value, check_name(reason, "reason"))

    async def _set_step_result(self, id: str, step_id: str, value: Any, reason: str) -> Run[Any]:
        engine = await self._client.engine()
        text = codec.encode(
            value, field="value", limit_bytes=engine.settings.payload_bytes_max, depth_max=engine.settings.depth_max
        )  # fmt: skip
        return await engine.set_step_result(id, step_id, text, reason)

    async def update_run(
        self, id: str, *, tags: Sequence[str] | None = None, priority: int | None = None, max_events: int | None = None,
        execution_timeout: Duration | None = None,
    ) -> Run[Any]:  # fmt: skip
        """Change a run's tags, its place in the queue, or its limits. What is not given stays as it is.

        Args:
            tags: Instead of those that it has. Those of a run that is over may change too. ``ctx.tags`` stays what it was.
            priority: Of a run that waits to be started.
            max_events: Of its whole history. More than it has by now.
            execution_timeout: Counted from where the present one is, else from the first start; if it is over by then, the run
                fails. A bare number is milliseconds.

        Raises:
            NotFoundError: There is no such run. ValidationError: nothing is given, or something out of its bounds.
            ConflictError: It is over, or being undone, and more than its tags is to change; or its history is too long already.

        Durability: Stored on return. Who executes the run knows within a second. Calling twice does no harm.
        """
        check_run_id(id, "id")
        update = update_request(tags, priority, max_events, execution_timeout)
        return await self._recorded("update_run", self._update_run, id, update)

    async def _update_run(self, id: str, update: UpdateRequest) -> Run[Any]:
        return await (await self._client.engine()).update_run(id, update)

    async def resume(self, id: str) -> Run[Any]:
        """Let a paused run go on, or take back that it was to be paused.

        Raises:
            NotFoundError: There is no such run. ConflictError: it is not paused.
        """
        return await self._recorded("resume", self._resume, check_run_id(id, "id"))

    async def _resume(self, id: str) -> Run[Any]:
        return await (await self._client.engine()).resume(id)
