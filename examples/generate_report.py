"""What a scheduled report does each time: fetch, generate, save, notify."""

import asyncio
import os
from datetime import UTC, datetime

from stepwell import AsyncClient, step, workflow

client = AsyncClient(os.environ.get("STEPWELL_URL", "memory://"))


async def fetch_report_data(kind):
    return {"kind": kind, "sales": [120, 80, 300]}


class ReportService:
    async def generate(self, data, kind):
        return {"url": f"https://reports.example.org/{kind}", "total": sum(data["sales"])}


class NotificationService:
    async def notify(self, report_id):
        report = await client.collection("reports").get_one(report_id)
        print(f"report {report['type']} is at {report['url']}")


report_service = ReportService()
notification_service = NotificationService()


@workflow("generate-report")
async def generate_report(ctx, input):
    report_type = input[0]["type"]

    # Step 1: Fetch data
    data = await step("fetch-data", lambda: fetch_report_data(report_type))()

    # Step 2: Generate report
    report = await step("generate", lambda: report_service.generate(data, report_type))()

    # Step 3: Save report
    saved = await step(
        "save",
        lambda: client.collection("reports").create(
            {"type": report_type, "url": report["url"], "generatedAt": datetime.now(UTC)}
        ),
    )()

    # Step 4: Notify recipients
    await step("notify", lambda: notification_service.notify(saved["id"]))()

    return {"reportId": saved["id"]}


async def main():
    async with client, client.worker(generate_report):
        run = await client.workflow.trigger("generate-report", [{"type": "weekly"}])
        result = await client.workflow.result(run)
        print((await client.collection("reports").get_one(result["reportId"]))["type"])


if __name__ == "__main__":
    asyncio.run(main())
