"""The requests of a plan carried out on a connection to PostgreSQL.

Each answer is one JSON list, and rows to be written go in as one JSON list of objects: one statement, one parameter, however many
rows. Requests that come together are sent as one statement: questions as the columns of one row, writes as the branches of one
``WITH``. So a batch costs a handful of turns, whatever its size.
"""

import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from itertools import groupby
from typing import Any, Final, TypeVar

import msgspec

from stepwell.store.drafts import Draft
from stepwell.store.plans import Ask, Change, Get, Lock, Parameter, Plan, Request, Write, to_json
from stepwell.store.postgres_wire import Wire
from stepwell.store.statements import statement_in

T = TypeVar("T")

_SERVER_NOW: Final = "(extract(epoch FROM now()) * 1000)::bigint"
_PARAMETER: Final = re.compile(r"\$(\d+)")


def _read() -> dict[str, str]:
    folder = files("stepwell.store") / "sql"
    names = {entry.name.removesuffix(".sql") for part in ("common", "postgres") for entry in (folder / part).iterdir()}
    return {name: statement_in("postgres", name) for name in names if not name.startswith(("__", "."))}


_TEXTS: Final = _read()
"""All statements, read at import: nothing here may wait for a disk."""


class Speech:
    """The statements, with the store's time in them: the server's, or that of a clock which a test sets."""

    def __init__(self, set_ms: Callable[[], int] | None) -> None:
        self._set_ms = set_ms
        self._combined: dict[tuple[type, ...] | tuple[str, ...], str] = {}
        self._texts = {name: text.replace("{now}", _SERVER_NOW) for name, text in _TEXTS.items()}

    def now(self) -> str:
        """Return the store's time, for a statement: an expression of type bigint."""
        return _SERVER_NOW if self._set_ms is None else f"{self._set_ms()}::bigint"

    def text(self, name: str) -> str:
        """Return a statement."""
        if self._set_ms is None or "{now}" not in _TEXTS[name]:
            return self._texts[name]
        return _TEXTS[name].replace("{now}", self.now())

    def inline(self, name: str, *parameters: Parameter) -> str:
        """Return a statement with its parameters in it, to be sent together with others. They are our own: names and numbers."""
        return _PARAMETER.sub(lambda match: _literal(parameters[int(match.group(1)) - 1]), self.text(name))

    def questions(self, names: tuple[str, ...]) -> str:
        """Return one statement that asks several questions."""
        return self._combine("?", names, lambda texts: f"SELECT {', '.join(f'({text})' for text in texts)}")

    def writes(self, names: tuple[str, ...]) -> str:
        """Return one statement that writes to several tables."""
        return self._combine("!", names, _branches)

    def _combine(self, kind: str, names: tuple[str, ...], how: Callable[[list[str]], str]) -> str:
        key = (kind, *names)
        if key not in self._combined:
            texts: list[str] = []
            used = 0
            for name in names:
                text = self.text(name)
                count = max((int(number) for number in _PARAMETER.findall(text)), default=0)
                texts.append(_shifted(text, used))
                used += count
            self._combined[key] = how(texts)
        return self._combined[key]


def _literal(value: Parameter) -> str:
    if not isinstance(value, str):
        return "NULL" if value is None else str(int(value))
    assert "\\" not in value
    assert "\0" not in value
    return "'" + value.replace("'", "''") + "'"


def _shifted(text: str, by: int) -> str:
    return _PARAMETER.sub(lambda match: f"${int(match.group(1)) + by}", text)


def _branches(texts: list[str]) -> str:
    parts = ", ".join(f"part_{place} AS ({text})" for place, text in enumerate(texts))
    return f"WITH {parts} SELECT 1"


async def ask(wire: Wire, speech: Speech, name: str, kind: type[T], *parameters: Parameter) -> T:
    """Ask one question."""
    return msgspec.json.decode(await wire.fetchval(speech.text(name), *parameters), type=kind)


async def carry_out(plan: Plan[T], wire: Wire, speech: Speech) -> T:
    """Carry out a plan to its end."""
    try:
        requests = next(plan)
        while True:
            requests = plan.send(await _answers(requests, wire, speech))
    except StopIteration as end:
        result: T = end.value
        return result


async def _answers(requests: Sequence[Request], wire: Wire, speech: Speech) -> list[Any]:
    answers: list[Any] = []
    for kind, group in groupby(requests, type):
        together = list(group)
        if kind is Ask:
            answers += await _ask([each for each in together if isinstance(each, Ask)], wire, speech)
        elif kind is Write:
            answers += await _write([each for each in together if isinstance(each, Write)], wire, speech)
        else:
            for request in together:
                answers.append(await _one(request, wire, speech))
    return answers


async def _ask(questions: list[Ask], wire: Wire, speech: Speech) -> list[Any]:
    text = speech.questions(tuple(question.name for question in questions))
    rows = await wire.fetch(text, *(each for question in questions for each in question.parameters))
    return [msgspec.json.decode(answer, type=question.kind) for question, answer in zip(questions, rows[0], strict=True)]


async def _write(writes: list[Write], wire: Wire, speech: Speech) -> list[None]:
    wanted = [write for write in writes if write.rows]
    if wanted:
        parameters: list[Parameter] = []
        for write in wanted:
            columns = write.table.columns
            parameters.append(to_json([dict(zip(columns, row, strict=True)) for row in write.rows]))
            parameters += write.more
        names = tuple(write.table.name for write in wanted)
        await wire.execute(speech.text(names[0]) if len(names) == 1 else speech.writes(names), *parameters)
    return [None] * len(writes)


async def _one(request: Request, wire: Wire, speech: Speech) -> Any:
    match request:
        case Lock(run_ids, ending):
            answer = await wire.fetchval(speech.text("drafts"), to_json(run_ids), to_json(ending))
            return msgspec.json.decode(answer, type=list[Draft])
        case Get(name, parameters):
            return await wire.fetchval(speech.text(name), *parameters)
        case Change(name, parameters):
            return changed(await wire.execute(speech.text(name), *parameters))
        case Ask() | Write():
            raise AssertionError("asked and written together")


def changed(tag: str) -> int:
    """Return how many rows a command has changed, from its tag."""
    return int(tag.rpartition(" ")[2])
