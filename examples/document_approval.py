"""Ask somebody outside by a hook, and wait for the answer. One document is approved here, one rejected."""

import asyncio
import os

from stepwell import AsyncClient, step, wait_for_approval, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def publish_document(document_id):
    print(f"published {document_id}")


@workflow("document-approval")
async def document_approval(ctx, input):
    document_id = input[0]["documentId"]
    hook = await client.workflow.create_hook(ctx.run_id, "document-approval", "approve", {"documentId": document_id})
    approval = await wait_for_approval(hook.token)
    if not approval["approved"]:
        raise ValueError("document rejected")
    await step("publish-document", publish_document)(document_id)
    return {"published": True}


async def asked(run_id):
    """Return the hook of a run once it is there: whoever is asked is sent its token, in practice."""
    async for event in client.workflow.stream_events(run_id):
        if event.event_type == "hook_created":
            return (await client.workflow.get_hooks(run_id))[0]
    raise LookupError("the run asks for nothing")


async def main():
    async with client, client.worker(document_approval):
        for document_id, approved in (("report", True), ("rumour", False)):
            run = await client.workflow.trigger("document-approval", [{"documentId": document_id}])
            hook = await asked(run.run_id)
            print(hook.name, hook.action, hook.payload)
            await client.workflow.execute_hook(hook.token, {"approved": approved, "comment": "read twice"})
            over = await client.workflow.wait(run.run_id)
            print(over.output or over.error)


if __name__ == "__main__":
    asyncio.run(main())
