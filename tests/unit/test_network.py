"""The network of the tests: what is cut is silent in that direction, and comes through when it is healed."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.chaos.network import Network, NotPermittedError

ECHO = """
import socket
listener = socket.create_server((__import__("sys").argv[1], 7000))
print("ready", flush=True)
while True:
    connection, peer = listener.accept()
    while data := connection.recv(100):
        print("heard", data.decode(), flush=True)
        connection.sendall(data)
"""
ASK = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 7000), 5)
for line in sys.stdin:
    connection.settimeout(float(line.split()[1]))
    try:
        connection.sendall(line.split()[0].encode())
        print(connection.recv(100).decode(), flush=True)
    except TimeoutError:
        print("silence", flush=True)
"""


class Pair:
    """A program on each of two machines."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._echo = self._start("there", ECHO)
        assert self._said(self._echo) == "ready"
        self._ask = self._start("here", ASK)

    def _start(self, name: str, text: str) -> "subprocess.Popen[str]":
        command = [*self.network.enter(name), sys.executable, "-c", text, self.network.address("there")]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _said(self, process: "subprocess.Popen[str]") -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    def ask(self, word: str, patience_s: float = 10) -> str:
        assert self._ask.stdin is not None
        self._ask.stdin.write(f"{word} {patience_s}\n")
        self._ask.stdin.flush()
        return self._said(self._ask)

    def heard(self) -> str:
        return self._said(self._echo)

    def close(self) -> None:
        for process in (self._ask, self._echo):
            process.kill()
            process.communicate()


@pytest.fixture
def pair() -> Iterator[Pair]:
    try:
        with Network("here", "there") as network:
            pair = Pair(network)
            yield pair
            pair.close()
    except NotPermittedError as error:
        pytest.skip(str(error))


def test_cut_upwards_nothing_is_heard_and_healed_it_comes_through(pair: Pair):
    assert (pair.ask("one"), pair.heard()) == ("one", "heard one")
    pair.network.cut("here", "up")
    assert pair.ask("two", 0.3) == "silence"
    pair.network.heal("here")
    assert pair.heard() == "heard two"


def test_cut_downwards_it_is_heard_and_the_answer_is_not(pair: Pair):
    assert (pair.ask("one"), pair.heard()) == ("one", "heard one")
    pair.network.cut("here", "down")
    assert pair.ask("two", 0.3) == "silence"
    assert pair.heard() == "heard two"
    pair.network.heal("here")
    assert pair.ask("three").startswith("two")
