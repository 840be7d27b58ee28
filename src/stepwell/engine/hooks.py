"""Hooks: what a run asks of people and programs outside, and their answers."""

import asyncio
from typing import Any

from stepwell import codec
from stepwell.durations import from_ms
from stepwell.engine.api import MadeHook
from stepwell.engine.controls import Controls
from stepwell.engine.hook_tokens import HookTokens
from stepwell.engine.present import rfc3339
from stepwell.errors import ConflictError, HookExpired, NotFoundError
from stepwell.execution.tokens import TokenParts, parse_token, unknown_hook
from stepwell.model import OVER, STATUSES, Hook
from stepwell.store.base import OVER_FROM, AnswerHook, Hooked, HookRow, MakeHook, Operation, RunRow

_URL = "/api/workflows/hooks/"
_PAGE = "/approve#"


class Hooks(Controls):
    """A part of ``EmbeddedEngine``."""

    hook_tokens: HookTokens

    async def create_hook(
        self, run_id: str, hook_id: str, name: str, action: str, payload: str, expires_in_ms: int
    ) -> MadeHook:  # fmt: skip
        """See ``Engine.create_hook``."""
        await self.have_key()
        now = self.store.now_ms()
        expires_ms = now + expires_in_ms
        said = (
            f'{{"hookId":{codec.encode(hook_id, field="hook_id")},"action":{codec.encode(action, field="action")},'
            f'"payload":{payload},"expires":"{rfc3339(expires_ms)}"}}'
        )
        request = MakeHook(
            run_id=run_id, hook_id=hook_id, name=name, action=action, payload=payload, expires_ms=expires_ms, said=said, at_ms=now
        )  # fmt: skip
        made = await self._hooked(request)
        if made.reason == "missing":
            raise NotFoundError(f"there is no run {run_id!r}")
        if made.reason == "over":
            raise ConflictError(f"run {run_id!r} is over and takes no hook any more")
        if made.reason == "limit" or made.hook is None:
            raise ConflictError(f"run {run_id!r} takes no hook any more: its history has reached max_events")
        self.watchers.moved(run_id)
        asking = await self._asking(run_id)
        return MadeHook(self._shown_hook(made.hook, asking, is_over=False), made.reason == "created")

    async def execute_hook(self, token: str, payload: str, answer_id: str) -> Hook:
        """See ``Engine.execute_hook``."""
        parts, _, asking = await self._proved(token)
        done = await self._hooked(
            AnswerHook(
                run_id=parts.run_id, hook_id=parts.hook_id, answer_id=answer_id, payload=payload, at_ms=self.store.now_ms()
            )
        )  # fmt: skip
        if done.reason == "missing" or done.hook is None:
            raise unknown_hook()
        hook = self._shown_hook(done.hook, asking, is_over=done.reason == "over")
        if done.reason == "answered":
            raise ConflictError(
                f"hook {hook.name!r} was answered already; the first answer stands: {done.hook.answer:.200}", hook
            )
        if done.reason == "expired":
            raise HookExpired(f"hook {hook.name!r} has expired")
        if done.reason == "over":
            status = STATUSES[(await self.store.statuses([parts.run_id])).get(parts.run_id, OVER_FROM)]
            is_so = status if status in OVER else "being undone"
            raise ConflictError(f"hook {hook.name!r} cannot be answered any more: its run is {is_so}", hook)
        return hook

    async def get_hook(self, token: str) -> Hook:
        """See ``Engine.get_hook``."""
        _, known, asking = await self._proved(token)
        return self._shown_hook(known, asking, is_over=asking.status >= OVER_FROM)

    async def _proved(self, token: str) -> tuple[TokenParts, HookRow, RunRow]:
        """Return the hook that a token was made for, and the run that asks.

        Raises:
            NotFoundError: There is none.
        """
        self.here()
        await self.have_key()
        parts = parse_token(token)
        known = next((hook for hook in await self.store.hooks(parts.run_id) if hook.hook_id == parts.hook_id), None)
        if known is None:
            raise unknown_hook()
        self.hook_tokens.compare(token, _parts(known), known.name, known.action)
        return parts, known, await self._asking(parts.run_id)

    async def _asking(self, run_id: str) -> RunRow:
        stored = await self.store.find_run(run_id)
        if stored is None:
            raise unknown_hook()  # it was removed a moment ago, and its hooks with it
        return stored.row

    async def get_hooks(self, run_id: str) -> list[Hook]:
        """See ``Engine.get_hooks``."""
        self.here()
        stored = await self.store.find_run(run_id)
        if stored is None:
            raise NotFoundError(f"there is no run {run_id!r}")
        await self.have_key()
        is_over = stored.row.status >= OVER_FROM
        return [self._shown_hook(hook, stored.row, is_over=is_over) for hook in await self.store.hooks(run_id)]

    async def have_key(self) -> None:
        """Make sure that tokens can be made without reading files."""
        if not self.hook_tokens.is_loaded:
            await asyncio.to_thread(self.hook_tokens.load)

    async def _hooked(self, request: Operation) -> Hooked:
        self.here()
        done = await self.submit(request)
        assert isinstance(done, Hooked)
        return done

    def _token_of(self, hook: HookRow) -> str:
        return self.hook_tokens.token(_parts(hook), hook.name, hook.action)

    def _shown_hook(self, hook: HookRow, asking: RunRow, *, is_over: bool) -> Hook:
        token = self._token_of(hook)
        answer: Any = None if hook.answer is None else codec.decode(hook.answer)
        is_late = is_over or (hook.expires is not None and hook.expires <= self.store.now_ms())
        state: Any = "executed" if hook.answer_id is not None else "expired" if is_late else "open"
        return Hook(
            token=token, url=_URL + token, page_url=_PAGE + token, run_id=hook.run_id, workflow_name=asking.workflow,
            name=hook.name, action=hook.action, payload=codec.decode(hook.payload), state=state, answer=answer,
            expires=None if hook.expires is None else from_ms(hook.expires),
        )  # fmt: skip


def _parts(hook: HookRow) -> TokenParts:
    return TokenParts(hook.run_id, hook.hook_id, hook.expires or 0)
