"""The outside of the workflows of a test: what their steps did to it, in which life of the engine.

It is what no store can take back: the effects. It outlives the engine's deaths, as the world does.
"""

import asyncio
from typing import NamedTuple

from stepwell import AsyncClient, current_step


class Start(NamedTuple):
    """The body of a step began."""

    life: int
    step_id: str
    attempt: int
    rests_on: tuple[str, ...]
    """The steps whose results it was given."""


class World:
    """One run's effects."""

    def __init__(self) -> None:
        self.life = 0
        self.is_dead = False
        """Between a death and the next life nothing that still moves in this process is real."""
        self.is_watched = False
        """From the trigger of the run to its end."""
        self.starts: list[Start] = []
        self.client: AsyncClient
        self._gates: dict[str, asyncio.Event] = {}

    def begin_life(self, client: AsyncClient) -> None:
        self.life += 1
        self.is_dead = self.is_watched = False
        self.client = client
        self._gates = {}

    def effect(self, *rests_on: object) -> str:
        """A body has begun, with what other bodies returned. Returns the identity of its step."""
        scope = current_step()
        if not self.is_dead:
            known = tuple(text for text in rests_on if isinstance(text, str))
            self.starts.append(Start(self.life, scope.step_id, scope.attempt, known))
        return scope.step_id

    def gate(self, name: str) -> asyncio.Event:
        """What a body of this life waits for until the driver lets it go on."""
        return self._gates.setdefault(name, asyncio.Event())


world = World()
"""That of the test that runs now."""


def new_world() -> World:
    """Forget what was."""
    global world
    world = World()
    return world
