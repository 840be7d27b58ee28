"""What can be done to a run from outside: cancel, pause, resume, retry, repair."""

from typing import Any

from stepwell import codec
from stepwell.checks import check_name, check_run_id
from stepwell.client.recorded import Recorded
from stepwell.errors import ValidationError
from stepwell.model import Run


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

    async def set_step_result(self, id: str, step_id: str, value: Any, reason: str) -> Run[Any]:
        """Record the result of a step of a paused run by hand: replay takes it for the step's own.

        Args:
            step_id: The step's identity, as events show it: ``charge``, ``charge#1``, ``parallel#0/2/charge``.
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

    async def resume(self, id: str) -> Run[Any]:
        """Let a paused run go on, or take back that it was to be paused.

        Raises:
            NotFoundError: There is no such run. ConflictError: it is not paused.
        """
        return await self._recorded("resume", self._resume, check_run_id(id, "id"))

    async def _resume(self, id: str) -> Run[Any]:
        return await (await self._client.engine()).resume(id)
