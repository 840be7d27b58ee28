"""A real browser for tests."""

import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser, async_playwright

CHROMIUM = shutil.which("chromium")
ARGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium (scripts/system-packages browser): NOT TESTED")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Chromium that all tests of this process use: starting one costs more than most of them."""
    assert CHROMIUM is not None
    folder = tmp_path_factory.mktemp("chromium")
    command = [CHROMIUM, *ARGS, "--remote-debugging-port=0", f"--user-data-dir={folder}"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        address = next(line.split()[-1] for line in process.stderr if line.startswith("DevTools listening on"))
        reader = threading.Thread(target=process.stderr.read)
        reader.start()
        yield address
        process.terminate()
        reader.join()


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """A browser without pages; what a test opens in it, other tests do not see."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(chromium)
        yield browser
        await browser.close()
