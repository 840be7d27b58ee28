"""Hooks: what is asked of the outside, and answered from there."""

from hashlib import blake2b
from typing import Any, Final

from stepwell import codec
from stepwell.checks import check_name, check_run_id
from stepwell.client.control import AsyncControl
from stepwell.client.recorded import derived_id
from stepwell.client.requests import new_id
from stepwell.durations import Duration, parse_ms
from stepwell.execution.here import branch_here
from stepwell.execution.tokens import BODY_HOOK, parse_token
from stepwell.model import Hook

EXPIRES_MS: Final = 7 * 86_400_000


def hook_id_outside(name: str, action: str, key: str | None) -> str:
    """Return the id of a hook that is not made by a workflow's body: the same for the same question."""
    return _hashed(f"from outside\0{name}\0{action}\0{key or ''}")


def _hashed(asked: str) -> str:
    return blake2b(asked.encode(), digest_size=12).hexdigest()


class AsyncHooks(AsyncControl):
    """See ``AsyncWorkflows``."""

    async def create_hook(
        self, run_id: str, name: str, action: str, payload: Any = None, *, key: str | None = None, expires: Duration | None = None
    ) -> Hook:
        """Make a token with which somebody outside can answer a run: hand it over, and wait with ``ctx.wait_for_hook``.

        In a workflow each call makes a hook of its own. Elsewhere the same run, name, action and key give the same hook, and what
        was asked first stands.

        Args:
            name: What it is about, as ``waiting_for`` shows it.
            action: What is asked for: ``approve``, say.
            payload: What whoever is asked may want to know. Any JSON value.
            expires: From when on it cannot be answered any more (7 days).

        Raises:
            NotFoundError: There is no such run. ConflictError: it is over, or its history is full.
        """
        check_run_id(run_id)
        check_name(name, "name")
        check_name(action, "action")
        expires_ms = EXPIRES_MS if expires is None else parse_ms(expires, bare="specification", field="expires")
        if key is not None:
            check_name(key, "key")
        hook = await self._recorded("create_hook", self._create_hook, run_id, name, action, payload, key, expires_ms)
        here = branch_here()
        if here is not None:
            here.execution.history.hook_names[parse_token(hook.token).hook_id] = name
        return hook

    async def _create_hook(self, run_id: str, name: str, action: str, payload: Any, key: str | None, expires_ms: int) -> Hook:
        engine = await self._client.engine()
        text = codec.encode(
            payload, field="payload", limit_bytes=engine.settings.payload_bytes_max, depth_max=engine.settings.depth_max
        )  # fmt: skip
        identity = derived_id() if key is None else None
        hook_id = BODY_HOOK + _hashed(f"in a body\0{identity}") if identity is not None else hook_id_outside(name, action, key)
        return (await engine.create_hook(run_id, hook_id, name, action, text, expires_ms)).hook

    async def execute_hook(self, token: str, payload: Any = None) -> Hook:
        """Answer a hook. The first answer stands.

        Raises:
            NotFoundError: There is no such hook.
            ConflictError: It was answered before (``hook`` has the answer that stands), or its run is over.
            HookExpired: It has expired.

        Durability: stored on return.
        """
        return await self._recorded("execute_hook", self._execute_hook, token, payload)

    async def _execute_hook(self, token: str, payload: Any) -> Hook:
        engine = await self._client.engine()
        text = codec.encode(
            payload, field="payload", limit_bytes=engine.settings.payload_bytes_max, depth_max=engine.settings.depth_max
        )  # fmt: skip
        return await engine.execute_hook(token, text, derived_id() or new_id())

    async def get_hooks(self, run_id: str) -> list[Hook]:
        """Return the hooks of a run, in the order in which they were made.

        Raises:
            NotFoundError: There is no such run.
        """
        return await self._recorded("get_hooks", self._get_hooks, check_run_id(run_id))

    async def _get_hooks(self, run_id: str) -> list[Hook]:
        return await (await self._client.engine()).get_hooks(run_id)
