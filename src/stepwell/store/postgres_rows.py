"""The statements for PostgreSQL, alone and together: questions as the columns of one row, writes as the branches of one ``WITH``.

Each answer is one JSON list, and rows to be written go in as one JSON list: one statement, one parameter, however many rows.
"""

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Final, TypeVar

import msgspec

from stepwell.store.plans import Parameter
from stepwell.store.postgres_capabilities import ALL, TRIED, Capabilities, adapted, to_try
from stepwell.store.postgres_wire import ServerError, Wire, is_not_understood
from stepwell.store.statements import statement, statement_in

T = TypeVar("T")

_SERVER_NOW: Final = "(extract(epoch FROM now()) * 1000)::bigint"
_PARAMETER: Final = re.compile(r"\$(\d+)")


def _names(*parts: str) -> set[str]:
    found = (entry.name for part in parts for entry in (files("stepwell.store") / "sql" / part).iterdir())
    return {name.removesuffix(".sql") for name in found if name.endswith(".sql")}


_TEXTS: Final = {name: statement_in("postgres", name) for name in _names("common", "postgres")}
"""All statements, read at import: nothing here may wait for a disk."""

_PLAIN: Final = {name: statement(f"plain/{name}") for name in _names("plain")}
"""Those that need less of their database."""


class Speech:
    """The statements, with the store's time in them: the server's, or that of a clock which a test sets."""

    def __init__(self, set_ms: Callable[[], int] | None, has: Capabilities = ALL) -> None:
        self._set_ms = set_ms
        self.learn(has)

    def learn(self, has: Capabilities) -> None:
        """Say everything so that a database with these capabilities understands it."""
        self.has = has
        self._combined: dict[tuple[str, ...], str] = {}
        self._raw = adapted(_TEXTS, _PLAIN, has)
        self._texts = {name: text.replace("{now}", _SERVER_NOW) for name, text in self._raw.items()}

    def now(self) -> str:
        """Return the store's time, for a statement: an expression of type bigint."""
        return _SERVER_NOW if self._set_ms is None else f"{self._set_ms()}::bigint"

    def text(self, name: str) -> str:
        """Return a statement."""
        if self._set_ms is None or "{now}" not in self._raw[name]:
            return self._texts[name]
        return self._raw[name].replace("{now}", self.now())

    def questions(self, names: tuple[str, ...]) -> str:
        """Return one statement that asks several questions."""
        return self._combine("?", names, lambda texts: f"SELECT {', '.join(f'({text})' for text in texts)}")

    def writes(self, names: tuple[str, ...]) -> str:
        """Return one statement that writes to several tables."""
        return self._combine("!", names, lambda texts: f"WITH {_parts(texts)} SELECT 1")

    def counted(self, names: tuple[str, ...]) -> str:
        """Return one statement that writes to several tables, and tells of how many rows of the first."""
        return self._combine("#", names, lambda texts: (f"WITH {_parts(texts[1:])} " if texts[1:] else "") + texts[0])

    def identified(self, names: tuple[str, ...]) -> str:
        """Return such a statement which gives a batch's identity first, with its parameters. Nothing counts without."""

        def together(texts: list[str]) -> str:
            identity, first, *others = texts
            parts = _parts([f"{identity} RETURNING 1", *others])
            return f"WITH {parts} {first} AND EXISTS (TABLE part_0)"

        return self._combine("@", ("begin_batch", *names), together)

    def _combine(self, kind: str, names: tuple[str, ...], how: Callable[[list[str]], str]) -> str:
        key = (kind, *names)
        if key not in self._combined:
            texts: list[str] = []
            used = 0
            for name in names:
                text = self._raw[name]
                count = max((int(number) for number in _PARAMETER.findall(text)), default=0)
                texts.append(_shifted(text, used))
                used += count
            self._combined[key] = how(texts)
        return self._combined[key].replace("{now}", self.now())


def _shifted(text: str, by: int) -> str:
    return _PARAMETER.sub(lambda match: f"${int(match.group(1)) + by}", text)


def _parts(texts: list[str]) -> str:
    return ", ".join(f"part_{place} AS ({text})" for place, text in enumerate(texts))


async def ask(wire: Wire, speech: Speech, name: str, kind: type[T], *parameters: Parameter) -> T:
    """Ask one question."""
    return msgspec.json.decode(await wire.fetchval(speech.text(name), *parameters), type=kind)


async def learn(wire: Wire, speech: Speech) -> None:
    """Find out by trying what the database lacks, and do without."""
    tried = [name for name in TRIED if getattr(speech.has, name)]
    if await _understands(wire, [text for name in tried for text in _texts_to_try(name, speech)]):
        return
    for name in tried:
        if not await _understands(wire, _texts_to_try(name, speech)):
            speech.learn(speech.has.without([name]))


def _texts_to_try(name: str, speech: Speech) -> list[str]:
    names = TRIED[name]
    return [to_try(text) for text in ([speech.writes(names)] if name == "data_modifying_cte" else map(speech.text, names))]


async def _understands(wire: Wire, texts: list[str]) -> bool:
    try:
        if texts:
            await wire.execute("; ".join(texts))
    except ServerError as error:
        if not is_not_understood(error):
            raise
        return False
    return True


def changed(tag: str) -> int:
    """Return how many rows a command has changed, from its tag."""
    return int(tag.rpartition(" ")[2])
