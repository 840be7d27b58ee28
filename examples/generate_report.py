"""What a scheduled report does each time: fetch, generate, save, notify."""

import asyncio
import os

from stepwell import AsyncClient, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))
reports = {}


async def fetch_report_data(kind):
    return {"kind": kind, "sales": [120, 80, 300]}


async def generate(data):
    return {"url": f"https://reports.example.org/{data['kind']}", "total": sum(data["sales"])}


async def save(report_id, report):
    reports[report_id] = report
    return report_id


async def notify(report_id):
    print(f"{report_id} is at {reports[report_id]['url']}")


@workflow("generate-report")
async def generate_report(ctx, input):
    kind = input[0]["type"]
    data = await step("fetch-data", fetch_report_data)(kind)
    report = await step("generate", generate)(data)
    saved = await step("save", save)(f"report-{kind}", {"type": kind, "generatedAt": ctx.now(), **report})
    await step("notify", notify)(saved)
    return {"reportId": saved, "total": report["total"]}


async def main():
    async with client, client.worker(generate_report):
        run = await client.workflow.trigger("generate-report", [{"type": "weekly"}])
        print(await client.workflow.result(run))


if __name__ == "__main__":
    asyncio.run(main())
