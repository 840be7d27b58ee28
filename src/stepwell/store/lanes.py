"""Threads that do blocking work for an event loop, in the order in which it was asked for.

A thread ends at once, and answers nobody any more, when something other than an ``Exception`` is raised in it: that is how tests
let a process die without killing it.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, Generic, NamedTuple, TypeVar

from stepwell.errors import UnavailableError
from stepwell.failpoints import counters

T = TypeVar("T")
R = TypeVar("R")

_AFTER_FAILURE_S: Final = 1.0

_log = logging.getLogger(__name__)


class _Job(NamedTuple):
    work: Callable[[Any], Any]
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop


class Lane(Generic[R]):
    """Threads that share a queue; each passes its own resource to the work.

    ``rest`` is called after each work and when the time that it returned last, in seconds, has passed without any (it is told
    which of the two); None is for ever.
    """

    def __init__(self, name: str, resources: list[R], rest: Callable[[R, bool], float | None] | None = None) -> None:
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._rest: Final = rest
        self._ending = threading.Lock()
        self._is_ending = False
        self._is_abandoned = False
        self._threads = [threading.Thread(target=self._run, args=(resource,), name=name, daemon=True) for resource in resources]
        for thread in self._threads:
            thread.start()

    def call(self, work: Callable[[R], T]) -> "asyncio.Future[T]":
        """Have the work done on a thread of this lane.

        Raises:
            UnavailableError: The threads were told to end.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._ending:  # nobody would do what stands in the queue behind the end
            if self._is_ending and not self._is_abandoned:
                raise UnavailableError("the store is closed")
            self._queue.put(_Job(work, future, loop))
        return future

    def end(self) -> None:
        """Let the threads end after what was asked for before."""
        with self._ending:
            self._is_ending = True
            for _ in self._threads:
                self._queue.put(None)

    def stop(self, patience_s: float) -> bool:
        """End the threads, and wait for it; tell whether all have ended in time."""
        self.end()
        for thread in self._threads:
            thread.join(patience_s)
        return not any(thread.is_alive() for thread in self._threads)

    def abandon(self, patience_s: float) -> bool:
        """End the threads before anything else that was asked for, and answer nobody."""
        self._is_abandoned = True
        return self.stop(patience_s)

    def _run(self, resource: R) -> None:
        wait_s: float | None = None
        while not self._is_abandoned:
            try:
                job = self._queue.get(timeout=wait_s)
            except queue.Empty:
                is_idle = True
            else:
                is_idle = False
                if job is None or self._is_abandoned or not self._do(job, resource):
                    return
            if self._rest is not None:
                try:
                    wait_s = self._rest(resource, is_idle)
                except Exception:
                    # Without this thread nothing is done any more, and nobody would know.
                    _log.exception("%s: what is done between its work failed", threading.current_thread().name)
                    counters["store.rest_failed"] += 1
                    wait_s = _AFTER_FAILURE_S
                except BaseException:
                    return

    def _do(self, job: _Job, resource: R) -> bool:
        """Do a job and answer; tell whether this thread lives on."""
        try:
            result = job.work(resource)
        except Exception as error:
            self._answer(job, _fail, error)
        except BaseException:
            return False
        else:
            self._answer(job, _resolve, result)
        return True

    def _answer(self, job: _Job, how: Callable[["asyncio.Future[Any]", Any], None], value: object) -> None:
        if self._is_abandoned:
            return
        try:
            job.loop.call_soon_threadsafe(how, job.future, value)
        except RuntimeError:  # the loop is closed: nobody waits
            return


def _resolve(future: "asyncio.Future[Any]", result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
