"""The page on which people answer a hook, in a real browser, as wide as a desk and as a phone."""

import json
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Http

pytest.importorskip("playwright", reason="playwright is not installed: the page /approve is NOT TESTED")
from playwright.async_api import Browser, Page, expect

from tests.browsers import browser, chromium, needs_chromium

__all__ = ["browser", "chromium"]

pytestmark = needs_chromium

RUNS = "/api/workflows/runs"
HOOKS = "/api/workflows/hooks"
PATIENCE_MS = 60_000
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


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


async def _link(http: Http, payload: object = None, **options: object) -> str:
    await http("POST", RUNS, {"workflowName": options.pop("workflow", "pay"), "runId": "r"})
    made = await http(
        "POST", HOOKS, {"runId": "r", "name": "budget", "action": "approve", "payload": payload, **options}, status=201
    )
    assert made["pageUrl"] == f"{http.url}/approve#{made['token']}"
    return made["pageUrl"]


async def _hook(http: Http, payload: object = None) -> str:
    return (await _link(http, payload)).partition("#")[2]


async def _seen(page: Page, name: str) -> None:
    """Keep a picture, if somebody wants to look."""
    if folder := os.environ.get("STEPWELL_TEST_PICTURES"):
        width = await page.evaluate("innerWidth")
        await page.screenshot(path=Path(folder) / f"{name}-{width}.png", full_page=True)


async def test_one_answer_is_taken_and_whoever_comes_second_is_told_what_stands(
    http: Http, page: Page, browser: Browser, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    link = await _link(http, {"amount": 5, "for": "paper"})
    token = link.partition("#")[2]
    late = await browser.new_page()
    await late.goto(link)
    await late.get_by_role("button", name="Reject").click()

    await page.goto(link)
    await expect(page.locator("#payload")).to_contain_text('"amount": 5')
    await expect(page.locator("#workflowName")).to_have_text("pay")
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
    await page.goto(await _link(http, {"note": HOSTILE, "long": "x" * 3_000}, workflow=HOSTILE, name=HOSTILE, action=HOSTILE))
    await expect(page.locator("#payload")).to_contain_text("<img src=x onerror=")
    for name in ("workflowName", "name", "action"):
        await expect(page.locator(f"#{name}")).to_have_text(HOSTILE)
    assert await page.locator("main img, main script").count() == 0
    assert await page.title() == "An answer is asked for"


PAYLOADS: list[Any] = [
    {"amount": 12345678901234567890, "exact": 0.1, "whole": 1.0, "small": -1e-300, "nothing": None, "is": [True, False]},
    {"10": "ten", "2": "two", "__proto__": {"x": 1}, "constructor": "c", "": "", "#": "#1", "=": "=1", '"': '\\" 17 \\'},
    [], {}, [[], {}, [[9007199254740993]]], 9007199254740993, -0.0, True, None,
    'a text\n{"with": 12345678901234567890}\n#1\n=2\n\\u0041\n\t\x07\U0001f600',
]  # fmt: skip


async def test_payloads_and_answers_are_shown_as_they_are_and_no_number_is_rounded(http: Http, page: Page):
    for number, payload in enumerate(PAYLOADS):
        whole = payload if isinstance(payload, str) else json.dumps(payload, indent=2, ensure_ascii=False)
        link = await _link(http, payload, key=str(number))
        await page.goto(link)
        await expect(page.get_by_role("button", name="Approve")).to_be_visible()
        assert await page.locator("#payload").text_content() == whole
        data = json.dumps(payload).encode()
        headers = {"Content-Type": "application/json"}
        await http("POST", f"{HOOKS}/{link.partition('#')[2]}", data=data, headers=headers, status=200)
        await page.reload()
        await expect(page.locator("#standing")).to_be_visible()
        assert await page.locator("#answer").text_content() == whole
        if number == 0:
            await _seen(page, "numbers")


async def test_what_would_turn_text_around_is_shown_instead(http: Http, page: Page):
    for payload, shown in (
        ("pay \u202e001 ot\u202c 5", "pay \\u202e001 ot\\u202c 5"),
        ({"\u2067to": "\u200f1\u061c"}, '{\n  "\\u2067to": "\\u200f1\\u061c"\n}'),
    ):
        await page.goto(await _link(http, payload, action="a\u2066b", key=str(len(shown))))
        await expect(page.locator("#action")).to_have_text("a\\u2066b")
        assert await page.locator("#payload").text_content() == shown


async def test_payloads_of_any_size_and_shape_leave_the_page_usable(http: Http, page: Page):
    nested: Any = 1
    for _ in range(32):
        nested = [{"n": [nested, "x" * 50]}]
    large = ["\n" * 500_000, "Z" + "\u0335" * 5_000, list(range(20_000)), nested, "x" * 100_000]
    for number, payload in enumerate(large):
        await page.goto(await _link(http, payload, name="Z" + "\u0335" * 199, key=str(number)))
        await page.get_by_role("button", name="Reject").click()
        await _seen(page, f"large-{number}")
        await page.get_by_role("button", name="Send the answer").click()
        await expect(page.get_by_role("status")).to_contain_text("Your answer was taken", timeout=PATIENCE_MS)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_a_link_that_leads_nowhere_says_so(http: Http, page: Page):
    for link in ("", "#", "#swh.unknown", "#%3Cscript%3E", "#../../stats"):
        await page.goto("about:blank")  # another fragment alone loads nothing
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
