"""A network of machines that are one: a namespace for each, and a router between them that can drop what goes one way.

It needs Linux, ``ip`` (Debian: iproute2) and root. What is dropped is dropped by rules of routing, so that no firewall is needed.
All calls block. It knows nothing of what runs there.
"""

import contextlib
import os
import shutil
import subprocess
from typing import Final, Literal, Self

Direction = Literal["up", "down"]
_NET: Final = "10.77"


class NotPermittedError(Exception):
    """There can be no such network here. The text says why."""


class Network:
    """Machines known by short names. ``up`` is what one sends, ``down`` what others send to it."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._tag = f"sw{os.getpid()}"
        self._cuts: set[tuple[str, Direction]] = set()

    def address(self, name: str) -> str:
        """Return the address of a machine."""
        return f"{_NET}.{self._names.index(name) + 1}.2"

    def enter(self, name: str) -> tuple[str, ...]:
        """Return what a command begins with to be carried out on a machine."""
        return ("nsenter", f"--net=/run/netns/{self._tag}-{name}", "--")

    def cut(self, name: str, *directions: Direction) -> None:
        """Drop, without a word, all that goes in these directions (both)."""
        for direction in directions or ("up", "down"):
            if (name, direction) not in self._cuts:
                self._cuts.add((name, direction))
                self._ip("-n", self._router, "rule", "add", *self._rule(name, direction))

    def heal(self, name: str) -> None:
        """Carry everything."""
        for cut in [cut for cut in self._cuts if cut[0] == name]:
            self._cuts.discard(cut)
            self._ip("-n", self._router, "rule", "del", *self._rule(*cut))

    def _rule(self, name: str, direction: Direction) -> tuple[str, ...]:
        return ("iif", f"to-{name}", "blackhole") if direction == "up" else ("to", f"{self.address(name)}/32", "blackhole")

    @property
    def _router(self) -> str:
        return f"{self._tag}-router"

    def _ip(self, *arguments: str) -> None:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotPermittedError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")

    def __enter__(self) -> Self:
        if shutil.which("ip") is None or shutil.which("nsenter") is None:
            raise NotPermittedError("there is no ip, or no nsenter")
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        self._ip("netns", "add", self._router)
        for name in self._names:
            space, wire, net = f"{self._tag}-{name}", f"to-{name}", self.address(name).rpartition(".")[0]
            self._ip("netns", "add", space)
            self._ip("-n", self._router, "link", "add", "name", wire, "type", "veth", "peer", "name", "eth0", "netns", space)
            self._ip("-n", self._router, "addr", "add", f"{net}.1/24", "dev", wire)
            self._ip("-n", self._router, "link", "set", "dev", wire, "up")
            self._ip("-n", space, "addr", "add", f"{net}.2/24", "dev", "eth0")
            self._ip("-n", space, "link", "set", "dev", "eth0", "up")
            self._ip("-n", space, "link", "set", "dev", "lo", "up")
            self._ip("-n", space, "route", "add", "default", "via", f"{net}.1")
        self._ip("netns", "exec", self._router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def __exit__(self, *_: object) -> None:
        for name in (*self._names, "router"):
            with contextlib.suppress(NotPermittedError, OSError):
                self._ip("netns", "del", f"{self._tag}-{name}")
