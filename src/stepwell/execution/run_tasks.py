"""The asyncio tasks of one run: started, known, waited for, cancelled or put away together."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from stepwell.execution.branch import Branch, current
from stepwell.execution.rest import Wait
from stepwell.execution.tasks import is_blocked, throw_away, waits_for_tasks

_SWALLOWED_MAX: Final = 1_000


class RunTasks:
    """All tasks of a run that have not ended, each with its context."""

    __slots__ = ("_contexts", "_ended", "_loop", "_swallowed", "is_putting_away", "joining")

    def __init__(self, ended: Callable[["asyncio.Task[Any]"], None]) -> None:
        """``ended`` is called when a task has ended, after it was forgotten here."""
        self.joining: set[asyncio.Task[Any] | None] = set()
        """Tasks that wait for branches of their own."""
        self.is_putting_away = False
        """Whether the code that runs now is a task's that is being thrown away."""
        self._swallowed = 0
        self._contexts: dict[asyncio.Task[Any], contextvars.Context] = {}
        self._ended = ended
        self._loop = asyncio.get_running_loop()

    def spawn(self, branch: Branch[Any], coroutine: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Start the task of a branch."""
        context = contextvars.copy_context()
        context.run(current.set, branch)
        task = asyncio.Task(coroutine, loop=self._loop, context=context)
        self.add(task, context)
        return task

    def add(self, task: "asyncio.Task[Any]", context: contextvars.Context) -> None:
        """Know a task that was started elsewhere."""
        self._contexts[task] = context
        task.add_done_callback(self._forget)

    def __len__(self) -> int:
        return len(self._contexts)

    def others(self) -> list["asyncio.Task[Any]"]:
        """Return all but the one that calls this."""
        me = asyncio.current_task(self._loop)
        return [task for task in self._contexts if task is not me]

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._contexts.pop(task, None)
        self._ended(task)

    def all_wait(self, waits: "Mapping[asyncio.Task[Any], Wait]") -> bool:
        """Tell whether each waits: for something durable, for branches of its own, or for other tasks of the run."""
        for task in self._contexts:
            if not is_blocked(task):
                return False
            wait = waits.get(task)
            if wait is not None:
                if not wait.is_open:
                    return False
            elif task not in self.joining and not waits_for_tasks(task, self._contexts):
                return False
        return True

    def cancel(self) -> None:
        """Cancel all but the one that calls this."""
        for task in self.others():
            if not task.done():
                task.cancel()

    def put_away(self) -> list[BaseException]:
        """Throw all away where they wait; return what they raised instead of ending."""
        return self._throw_away(list(self._contexts.items()))

    def put_away_soon(self, task: "asyncio.Task[Any] | None") -> None:
        """Throw one task away, which is about to wait for ever."""
        if task is not None and task in self._contexts:
            self._loop.call_soon(self._throw_away, [(task, self._contexts[task])])

    def _throw_away(self, tasks: "list[tuple[asyncio.Task[Any], contextvars.Context]]") -> list[BaseException]:
        self.is_putting_away = True
        try:
            return throw_away(tasks)
        finally:
            self.is_putting_away = False

    def is_thrown_away(self, error: BaseException) -> bool:
        """Tell whether this is how a task sees that it is put away, or forgotten by a loop that has ended. What users' code
        raises by that name is raised while the task runs.
        """
        if not isinstance(error, GeneratorExit):
            return False
        try:
            return asyncio.current_task() not in self._contexts
        except RuntimeError:
            return True

    def is_stubborn(self) -> bool:
        """Count a durable call of a task that is being thrown away; tell whether it swallows that, and goes on and on."""
        self._swallowed += 1
        return self._swallowed > _SWALLOWED_MAX
