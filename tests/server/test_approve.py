"""The page on which people answer a hook, in a real browser, as wide as a desk and as a phone."""

import logging
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.servers import Http

pytest.importorskip("playwright", reason="playwright is not installed: the page /approve is NOT TESTED")
from playwright.async_api import Browser, Page, async_playwright, expect

RUNS = "/api/workflows/runs"
HOOKS = "/api/workflows/hooks"
CHROMIUM = shutil.which("chromium")
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
ARGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium (scripts/system-packages browser): /approve is NOT TESTED")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        await browser.close()


@pytest.fixture(params=[(1280, 800, "light"), (320, 640, "dark")], ids=["desk", "phone"])
async def page(browser: Browser, request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    """An empty page. At the end nothing may have been complained of: no script that failed, nothing against the policy."""
    width, height, scheme = request.param
    page = await browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    yield page
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # A browser says by itself that an answer was 404, 409 or 410.
    assert [each for each in told if not each.startswith("Failed to load resource: the server responded with a status of")] == []
    await page.close()


async def _hook(http: Http, payload: object = None, **options: object) -> str:
    await http("POST", RUNS, {"workflowName": "pay", "runId": "r"}, status=201)
    made = await http(
        "POST", HOOKS, {"runId": "r", "name": "budget", "action": "approve", "payload": payload, **options}, status=201
    )
    return made["token"]


async def _seen(page: Page, name: str) -> None:
    """Keep a picture, if somebody wants to look."""
    if folder := os.environ.get("STEPWELL_TEST_PICTURES"):
        width = await page.evaluate("innerWidth")
        await page.screenshot(path=Path(folder) / f"{name}-{width}.png", full_page=True)


async def test_one_answer_is_taken_and_whoever_comes_second_is_told_what_stands(
    http: Http, page: Page, browser: Browser, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    token = await _hook(http, {"amount": 5, "for": "paper"})
    late = await browser.new_page()
    await late.goto(f"{http.url}/approve#{token}")
    await late.get_by_role("button", name="Reject").click()

    await page.goto(f"{http.url}/approve#{token}")
    await expect(page.locator("#payload")).to_contain_text('"amount": 5')
    await expect(page.locator("#run")).to_have_text("r")
    await _seen(page, "open")
    await page.get_by_label("Comment (optional)").fill("fine by me")
    await page.get_by_role("button", name="Approve").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Send the answer")).to_be_focused()
    assert (await http("GET", f"{HOOKS}/{token}", status=200))["state"] == "open"
    await _seen(page, "confirm")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("Your answer was taken")
    await _seen(page, "taken")
    assert (await http("GET", f"{HOOKS}/{token}", status=200))["answer"] == {"approved": True, "comment": "fine by me"}

    await late.get_by_role("button", name="Send the answer").click()
    await expect(late.get_by_role("status")).to_contain_text("yours was not taken")
    await expect(late.locator("#answer")).to_contain_text("fine by me")
    await late.close()
    await page.reload()
    await expect(page.get_by_role("status")).to_contain_text("answered before")
    told = [str(record.__dict__) for record in caplog.records if record.name == "stepwell.access"]
    assert any("/approve" in each for each in told)
    assert not any(token in each for each in told)


async def test_any_json_is_an_answer_and_what_is_none_is_not_sent(http: Http, page: Page):
    token = await _hook(http)
    await page.goto(f"{http.url}/approve#{token}")
    await page.get_by_text("Answer with JSON instead").click()
    await page.get_by_label("Answer as JSON").fill("{approved}")
    await page.get_by_role("button", name="Use this answer").click()
    await expect(page.get_by_role("alert")).to_contain_text("not JSON")
    await page.get_by_label("Answer as JSON").fill('{"amount": 12345678901234567890}')
    await page.get_by_role("button", name="Use this answer").click()
    await page.get_by_role("button", name="Send the answer").click()
    await expect(page.get_by_role("status")).to_contain_text("Your answer was taken")
    assert (await http("GET", f"{HOOKS}/{token}", status=200))["answer"] == {"amount": 12345678901234567890}


async def test_what_a_payload_says_is_shown_as_text(http: Http, page: Page):
    token = await _hook(http, {"note": HOSTILE, "long": "x" * 3_000})
    await page.goto(f"{http.url}/approve#{token}")
    await expect(page.locator("#payload")).to_contain_text("<img src=x onerror=")
    assert await page.locator("main img, main script").count() == 0
    assert await page.title() == "An answer is asked for"


@pytest.mark.parametrize("link", ["", "#", "#swh.unknown", "#%3Cscript%3E", "#../../stats"])
async def test_a_link_that_leads_nowhere_says_so(http: Http, page: Page, link: str):
    await page.goto(f"{http.url}/approve{link}")
    await expect(page.get_by_role("status")).to_contain_text("no such question")
    await expect(page.get_by_role("button", name="Approve")).to_be_hidden()


async def test_a_question_whose_run_is_over_says_so(http: Http, page: Page):
    token = await _hook(http)
    await page.goto(f"{http.url}/approve#{token}")
    await page.get_by_role("button", name="Approve").click()
    await http("DELETE", f"{RUNS}/r")
    await page.get_by_role("button", name="Send the answer").click()
    await expect(page.get_by_role("status")).to_contain_text("too late")
    await page.reload()
    await expect(page.get_by_role("status")).to_contain_text("too late")
    await _seen(page, "late")


async def test_the_page_comes_with_what_keeps_its_token_to_itself(http: Http):
    for path in ("/approve", "/approve/style.css", "/approve/script.js"):
        headers = (await http("GET", path)).headers
        assert (headers["Cache-Control"], headers["X-Robots-Tag"]) == ("no-store", "noindex")
        assert (headers["Referrer-Policy"], headers["Cross-Origin-Opener-Policy"]) == ("no-referrer", "same-origin")
        assert "require-trusted-types-for 'script'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
