"""``AsyncClient``: the engine that a URL names, opened on first use."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Self

from stepwell.authoring.workflow import Workflow
from stepwell.client.collections import AsyncCollection, AsyncCollections
from stepwell.client.workflows import AsyncWorkflows
from stepwell.clock import Clock
from stepwell.connect import connect
from stepwell.engine.api import Engine
from stepwell.errors import UnavailableError
from stepwell.settings import Settings
from stepwell.worker.worker import WorkflowWorker


class AsyncClient:
    """A connection to where runs live. It belongs to the process and the event loop that opened it.

    Args:
        url: ``sqlite:///app.db``, ``sqlite:////var/app.db``, ``memory://``, ``http://127.0.0.1:7331``. None:
            ``STEPWELL_URL``, or else the file ``.stepwell/stepwell.db`` below the working folder.
        api_key: For servers; ``STEPWELL_API_KEY`` if not given.
        clock: For tests: a clock that they move.
        settings: How the embedded node behaves; from the environment if not given.

    Raises:
        ValidationError: The URL is none. (What it names is opened later, by the first call or ``async with``.)
    """

    def __init__(
        self, url: str | None = None, *, api_key: str | None = None, clock: Clock | None = None, settings: Settings | None = None
    ) -> None:
        self.workflow = AsyncWorkflows(self)
        self.collections = AsyncCollections(self)
        self._engine = connect(url, api_key=api_key, clock=clock, settings=settings)
        self._opening: asyncio.Task[None] | None = None
        self._is_closed = False

    async def engine(self) -> Engine:
        """Return the engine, opened.

        Raises:
            UnavailableError: It cannot be opened, or the client is closed.
        """
        if self._is_closed:
            raise UnavailableError("this client is closed")
        opening = self._opening
        if opening is None or (opening.done() and (opening.cancelled() or opening.exception() is not None)):
            opening = self._opening = asyncio.get_running_loop().create_task(self._engine.open())
        if not opening.done():
            await asyncio.shield(opening)
        return self._engine

    def collection(self, name: str) -> AsyncCollection:
        """Return the records of a collection.

        Raises:
            ValidationError: ``name`` is none: 1 to 200 characters, none of them a control character.
        """
        return AsyncCollection(self, name)

    async def close(self) -> None:
        """Hand back what is held here, and close. A second time does nothing."""
        if not self._is_closed:
            self._is_closed = True
            if self._opening is not None:
                with contextlib.suppress(Exception):
                    await self._opening
                    await self._engine.close()

    async def check_store(self) -> list[str]:
        """Verify every structural invariant of the store; return what is wrong, a sentence each."""
        return await (await self.engine()).check()

    @contextlib.asynccontextmanager
    async def worker(self, *workflows: "str | Workflow[Any, Any]", concurrency: int = 100) -> AsyncGenerator[WorkflowWorker]:
        """Execute these workflows (all that are registered, if none is named) while the context lasts; then drain."""
        worker = WorkflowWorker(self, concurrency=concurrency)
        if workflows:
            await worker.start(*workflows)
        else:
            await worker.start_all()
        try:
            yield worker
        finally:
            await worker.stop()

    async def __aenter__(self) -> Self:
        await self.engine()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /) -> None:
        await self.close()
