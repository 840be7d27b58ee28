"""Several server processes on one port of one PostgreSQL."""

import os
import re
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.commands import Running, Shell

KEY = "a-key-for-the-servers-of-tests"


@pytest.fixture
def shell(tmp_path: Path, postgres_url: str) -> Shell:
    shell = Shell(tmp_path)
    shell.url = postgres_url
    return shell


@contextmanager
def serving(shell: Shell, *args: str) -> Iterator[tuple[Running, str]]:
    with shell.start("serve", "--processes", "3", "--port", "0", *args, STEPWELL_API_KEY=KEY) as server:
        found = re.search(r"http://[\w.:]+", server.until("ready: "))
        assert found
        yield server, found[0]


def ask(url: str, path: str) -> str:
    """Ask on a connection of its own."""
    request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()


def answering(url: str) -> int:
    found = re.search(r'stepwell_process\{pid="(\d+)"\}', ask(url, "/metrics"))
    assert found
    return int(found[1])


def until_known(url: str, known: set[int], count: int) -> set[int]:
    """Ask, many at a time, until so many processes have answered."""

    def look() -> None:
        try:
            known.add(answering(url))
        except (OSError, urllib.error.URLError):
            return  # the process died under it: the next one asks another

    while len(known) < count:
        threads = [threading.Thread(target=look) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return known


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_several_processes_serve_and_one_that_is_killed_is_replaced(shell: Shell):
    with serving(shell) as (server, url):
        pids = until_known(url, set(), 3)
        killed = min(pids)
        os.kill(killed, signal.SIGKILL)
        line = server.until("another is started")
        assert str(killed) in line
        now = until_known(url, pids - {killed}, 3)
        assert killed not in now
        server.send(signal.SIGTERM)
        done = server.done()
        assert done.code == 0, done.err
        assert not any(lives(pid) for pid in now)
    entries = [entry for entry in shell.run("db", "audit").lines if entry["action"] == "startServer"]
    assert len(entries) == 1


def test_sigterm_lets_requests_under_way_finish(shell: Shell):
    shell.run("trigger", "nobody-knows-it", "--id", "waits")
    with serving(shell) as (server, url):
        answers: list[str] = []
        asked = [
            threading.Thread(target=lambda: answers.append(ask(url, "/api/workflows/runs/waits?wait=60s"))) for _ in range(6)
        ]
        for each in asked:
            each.start()
        while sum(float(found) for found in re.findall(r"stepwell_http_waits (\d+)", ask(url, "/metrics"))) == 0:
            pass  # until one of them waits at a process that says so
        server.send(signal.SIGTERM)
        done = server.done()
        for each in asked:
            each.join()
    assert done.code == 0, done.err
    assert len(answers) == 6
    assert all('"waits"' in answer for answer in answers)


def test_the_processes_end_when_their_parent_is_killed(shell: Shell):
    with serving(shell) as (server, url):
        pids = until_known(url, set(), 2)
        server.send(signal.SIGKILL)
        assert server.done().code == -signal.SIGKILL
        while any(lives(pid) for pid in pids):
            pass
    with pytest.raises(OSError, match="refused"):
        ask(url, "/healthz")


def test_what_cannot_be_served_ends_it_and_says_why(shell: Shell):
    alone = shell.run("serve", "--port", "0", "--tls-cert", "none.pem", "--tls-key", "none.pem", STEPWELL_API_KEY=KEY)
    assert (alone.code, "certificate" in alone.err) == (3, True)
    taken = shell.run(
        "serve", "--processes", "2", "--port", "0", "--tls-cert", "none.pem", "--tls-key", "none.pem", STEPWELL_API_KEY=KEY
    )
    assert taken.code == 2
    assert "before it was ready" in taken.err
    assert "certificate" in taken.err
    shell.url = "sqlite:///app.db"
    refused = shell.run("serve", "--processes", "2")
    assert (refused.code, "PostgreSQL" in refused.err) == (2, True)
    assert shell.run("serve", "--processes", "0").code == 2
