"""Whether runs may be made now: so many a second by a key, and none while too many wait for a worker.

Both are checked before anything is written. A batch counts as many as it has; it is let in whole as soon as one run would be, and
what it has beyond that is waited for afterwards, so that a batch of any size gets in.
"""

import asyncio
from typing import Final

from stepwell.engine.api import Engine
from stepwell.errors import RateLimitedError, StepwellError
from stepwell.server.keys import Identity

_SECOND_NS: Final = 1_000_000_000
_FRESH_S: Final = 1.0
_SHARE: Final = 20
"""Counting takes a twentieth of the time at most, however long the queue is."""
_KEYS_MAX: Final = 10_000


class Admission:
    """Lets runs in.

    Args:
        engine: Where the queue is.
        depth_max: How many runs may wait for a worker with room.
    """

    def __init__(self, engine: Engine, depth_max: int) -> None:
        self._engine = engine
        self._depth_max = depth_max
        self._depth = 0
        """As it was counted last."""
        self._since = 0
        """Runs let in since then: in the queue, or done already."""
        self._counted_at: float | None = None
        self._took_s = 0.0
        self._counting: asyncio.Task[None] | None = None
        self._paid_ns: dict[str, int] = {}
        """Of each key that has a rate: when what it was let make so far is paid for."""

    async def admit(self, identity: Identity, runs: int) -> None:
        """Count runs that are to be made.

        Raises:
            RateLimitedError: They may not be made now. Nothing was counted.
        """
        if runs == 0:
            return
        await self._check_depth()
        if identity.triggers_per_second is not None:
            self._pay(identity.key_id, identity.triggers_per_second, runs)
        self._since += runs

    def _pay(self, key_id: str, rate: int, runs: int) -> None:
        now_ns = int(asyncio.get_running_loop().time() * _SECOND_NS)
        paid_ns = max(self._paid_ns.get(key_id, 0), now_ns)
        early_ns = paid_ns - now_ns - _SECOND_NS
        if early_ns >= 0:
            wait_s = (early_ns + _SECOND_NS // rate) / _SECOND_NS
            detail = f"this key may trigger {rate:,} runs a second (triggers_per_second)"
            raise RateLimitedError(detail, retry_after=wait_s, limit="triggers_per_second")
        if key_id not in self._paid_ns and len(self._paid_ns) >= _KEYS_MAX:
            self._paid_ns = {each: at_ns for each, at_ns in self._paid_ns.items() if at_ns > now_ns}
        self._paid_ns[key_id] = paid_ns + runs * _SECOND_NS // rate

    async def _check_depth(self) -> None:
        age_s = self._age_s()
        is_rested = age_s >= _SHARE * self._took_s
        if self._depth >= self._depth_max:
            if is_rested:
                await self._count()
        elif self._depth + self._since >= self._depth_max:
            # Perhaps most of them are done: it is counted, before anybody is refused for nothing.
            await self._count()
        elif is_rested and age_s >= _FRESH_S:
            self._begin_count()
        if self._depth + self._since >= self._depth_max:
            detail = f"{self._depth_max:,} runs or more wait for a worker (queue_depth_max)"
            raise RateLimitedError(detail, retry_after=1, limit="queue_depth_max")

    def _age_s(self) -> float:
        return float("inf") if self._counted_at is None else asyncio.get_running_loop().time() - self._counted_at

    async def _count(self) -> None:
        await asyncio.shield(self._begin_count())

    def _begin_count(self) -> asyncio.Task[None]:
        """Count, once for all who ask meanwhile."""
        if self._counting is None or self._counting.done():
            self._counting = asyncio.create_task(self._recount(self._since), name="stepwell-queue-depth")
        return self._counting

    async def _recount(self, since: int) -> None:
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            self._depth = await self._engine.queue_depth(self._depth_max)
        except StepwellError:
            return  # a store that cannot be asked refuses the runs themselves
        self._since -= since
        self._counted_at = clock()
        self._took_s = self._counted_at - begun
