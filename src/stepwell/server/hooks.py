"""Routes of hooks. Who holds a token needs no key to see what is asked and to answer it."""

from msgspec import structs

from stepwell.checks import check_name
from stepwell.client.hooks import EXPIRES_MS, hook_id_outside
from stepwell.client.requests import new_id
from stepwell.durations import parse_ms
from stepwell.errors import HookExpired
from stepwell.model import Hook
from stepwell.server.answers import Answer, answer
from stepwell.server.bodies import HookBody, NoQuery
from stepwell.server.requests import Request


async def create(request: Request) -> Answer:
    """Make a hook: 201, or 200 with the one that is there."""
    request.query(NoQuery)
    body = await request.body(HookBody)
    engine = request.world.engine
    await request.world.must_see(request.identity, body.run_id)
    expires_ms = EXPIRES_MS if body.expires is None else parse_ms(body.expires, bare="specification", field="expires")
    text = request.text(body.payload, "payload")
    derived = hook_id_outside(check_name(body.name, "name"), check_name(body.action, "action"), body.key)
    hook_id = derived if body.hook_id is None else body.hook_id
    request.target = f"{body.run_id}/{body.name}"
    made = await engine.create_hook(body.run_id, hook_id, body.name, body.action, text, expires_ms)
    return answer(_addressed(request, made.hook), 201 if made.created else 200)


async def of_run(request: Request) -> Answer:
    """List the hooks of a run, with their tokens."""
    request.query(NoQuery)
    run_id = request.parts["runId"]
    await request.world.must_see(request.identity, run_id)
    found = await request.world.engine.get_hooks(run_id)
    return answer({"items": [_addressed(request, hook) for hook in found], "nextCursor": None})


async def get(request: Request) -> Answer:
    """Show what is asked. Changes nothing, whoever follows the link."""
    request.query(NoQuery)
    hook = await request.world.engine.get_hook(request.parts["token"])
    if hook.state == "expired":
        raise HookExpired("this hook has expired, or its run is over")
    return answer(_addressed(request, hook))


async def execute(request: Request) -> Answer:
    """Answer a hook. The first answer stands."""
    request.query(NoQuery)
    payload = await request.json()
    engine = request.world.engine
    text = request.text(payload, "payload")
    answer_id = request.headers.get("idempotency-key", new_id())
    asked = await engine.get_hook(request.parts["token"])
    request.target = f"{asked.run_id}/{asked.name}"
    hook = await engine.execute_hook(request.parts["token"], text, check_name(answer_id, "Idempotency-Key"))
    return answer(_addressed(request, hook))


def _addressed(request: Request, hook: Hook) -> Hook:
    return structs.replace(hook, url=request.base_url + hook.url, page_url=request.base_url + hook.page_url)
