"""Event streams as a page follows them in a real browser, by ``EventSource`` and with tickets."""

import asyncio
from typing import Any

import pytest

from tests.server.test_keys import _key
from tests.servers import Http, Live, asking

pytest.importorskip("playwright", reason="playwright is not installed: EventSource is NOT TESTED")
from playwright.async_api import Browser, Page

from tests.browsers import browser, chromium, needs_chromium

__all__ = ["browser", "chromium"]

pytestmark = needs_chromium

RUNS = "/api/workflows/runs"
NOTES = "/api/collections/notes/records"
OPEN = """
url => {
  window.told = [];
  window.source = new EventSource(url);
  const tell = event => told.push(event.type + (event.lastEventId ? ` ${event.lastEventId}` : ""));
  for (const type of ["open", "run_created", "mine", "run_cancelled", "place", "create"]) source.addEventListener(type, tell);
}
"""


async def _until(page: Page, what: str) -> None:
    """Wait for something in the page, whose policy lets nobody evaluate texts there."""
    async with asyncio.timeout(60):
        await page.evaluate(f"new Promise(done => {{ const look = () => {what} ? done() : setTimeout(look, 20); look() }})")


async def test_a_page_follows_a_run_and_a_collection_with_tickets(live: Live, http: Http, browser: Browser):
    key = await _key(live.engine, "read", "records:notes:r")
    await http("POST", RUNS, {"workflowName": "w", "runId": "r"}, status=201)
    page = await browser.new_page()
    # A page from the server itself whose policy lets it ask the server.
    await page.goto(f"{http.url}/approve")
    async with asking(live, key) as reader:

        async def ticket() -> str:
            return (await reader("POST", "/api/tickets", status=201))["ticket"]

        url = f"{RUNS}/r/events?ticket={await ticket()}"
        await page.evaluate(OPEN, url)
        await _until(page, "told.length === 2")
        await http("POST", "/api/workflows/events", {"runId": "r", "eventType": "mine"}, status=201)
        await _until(page, "told.length === 3")
        await page.evaluate("source.close()")
        assert await page.evaluate("told") == ["open", "run_created 1", "mine 2"]

        # Used once, it opens nothing any more, and the browser does not try for ever.
        await page.evaluate(OPEN, url)
        await _until(page, "source.readyState === EventSource.CLOSED")
        assert await page.evaluate("told") == []

        await page.evaluate(OPEN, f"{RUNS}/r/events?after=2&ticket={await ticket()}")
        await http("DELETE", f"{RUNS}/r", status=202)
        # The stream ends with the run, the browser comes back, and is refused.
        await _until(page, "source.readyState === EventSource.CLOSED")
        assert await page.evaluate("told") == ["open", "run_cancelled 3"]

        await page.evaluate(OPEN, f"{NOTES}?ticket={await ticket()}")
        await _until(page, "told.includes('place 0')")
        await http("POST", NOTES, {"id": "a"}, status=201)
        await _until(page, "told.includes('create 1')")

        # What was lost on the way is asked for again, with another ticket.
        await page.evaluate("source.close()")
        await http("POST", NOTES, {"id": "b"}, status=201)
        await page.evaluate(OPEN, f"{NOTES}?after=1&ticket={await ticket()}")
        await _until(page, "told.includes('create 2')")
        assert not await page.evaluate("told.includes('create 1')")


async def test_a_page_whose_key_is_revoked_is_cut_off(live: Live, http: Http, browser: Browser, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stepwell.server.streams._BEAT_S", 0.05)
    monkeypatch.setattr("stepwell.server.keys._FRESH_MS", 0)
    key = await _key(live.engine, "read")
    await http("POST", RUNS, {"workflowName": "w", "runId": "r"}, status=201)
    page = await browser.new_page()
    await page.goto(f"{http.url}/approve")
    async with asking(live, key) as reader:
        made = await reader("POST", "/api/tickets", status=201)
    await page.evaluate(OPEN, f"{RUNS}/r/events?ticket={made['ticket']}")
    await _until(page, "told.length === 2")
    engine: Any = live.engine
    await engine.end_key(key[4:12])
    await _until(page, "source.readyState === EventSource.CLOSED")
