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

from stepwell.store.base import DataRefused
from stepwell.store.drafts import Draft
from stepwell.store.plans import Ask, Change, Get, Lock, Parameter, Plan, Request, Write, to_json
from stepwell.store.postgres_capabilities import ALL, LOCKING, TRIED, Capabilities, adapted, to_try
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


class _Written:
    """How much a transaction has written, where the database has a limit."""

    def __init__(self, has: Capabilities) -> None:
        self._has = has
        self._rows = 0
        self._bytes = 0

    def add(self, rows: int, texts: Sequence[Parameter]) -> None:
        self._rows += rows
        if self._has.bytes_max:
            self._bytes += sum(len(text.encode()) for text in texts if isinstance(text, str))
        for name, limit, count in (("rows_max", self._has.rows_max, self._rows), ("bytes_max", self._has.bytes_max, self._bytes)):
            if limit and count > limit:
                raise DataRefused(f"one transaction would write more than {name}={limit} of the address allows")


async def carry_out(plan: Plan[T], wire: Wire, speech: Speech) -> T:
    """Carry out a plan to its end.

    Raises:
        DataRefused: It writes more than the database takes in one transaction.
    """
    written = _Written(speech.has)
    try:
        requests = next(plan)
        while True:
            requests = plan.send(await _answers(requests, wire, speech, written))
    except StopIteration as end:
        result: T = end.value
        return result


async def _answers(requests: Sequence[Request], wire: Wire, speech: Speech, written: _Written) -> list[Any]:
    answers: list[Any] = []
    for kind, group in groupby(requests, type):
        together = list(group)
        if kind is Ask:
            answers += await _ask([each for each in together if isinstance(each, Ask)], wire, speech)
        elif kind is Write:
            answers += await _write([each for each in together if isinstance(each, Write)], wire, speech, written)
        else:
            for request in together:
                answers.append(await _one(request, wire, speech))
    return answers


async def _ask(questions: list[Ask], wire: Wire, speech: Speech) -> list[Any]:
    for question in questions:
        await _touch(question.name, question.parameters, wire, speech)
    text = speech.questions(tuple(question.name for question in questions))
    rows = await wire.fetch(text, *(each for question in questions for each in question.parameters))
    return [msgspec.json.decode(answer, type=question.kind) for question, answer in zip(questions, rows[0], strict=True)]


async def _touch(name: str, parameters: Sequence[Parameter], wire: Wire, speech: Speech) -> None:
    if name in LOCKING and not speech.has.multi_row_for_update:
        await wire.execute(speech.text(LOCKING[name]), *parameters)


async def _write(writes: list[Write], wire: Wire, speech: Speech, written: _Written) -> list[None]:
    wanted = [write for write in writes if write.rows]
    portions = [wanted] if speech.has.data_modifying_cte else [[write] for write in wanted]
    for portion in portions:
        parameters: list[Parameter] = []
        for write in portion:
            columns = write.table.columns
            parameters.append(to_json([dict(zip(columns, row, strict=True)) for row in write.rows]))
            parameters += write.more
        written.add(sum(len(write.rows) for write in portion), parameters)
        names = tuple(write.table.name for write in portion)
        if names:
            await wire.execute(speech.text(names[0]) if len(names) == 1 else speech.writes(names), *parameters)
    return [None] * len(writes)


async def _one(request: Request, wire: Wire, speech: Speech) -> Any:
    match request:
        case Lock(run_ids, ending):
            parameters = (to_json(run_ids), to_json(ending))
            await _touch("drafts", parameters, wire, speech)
            answer = await wire.fetchval(speech.text("drafts"), *parameters)
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
