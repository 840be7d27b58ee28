"""``workflow()``, and the registry of what is defined in this process."""

import inspect
import typing
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar, overload

from stepwell import codec
from stepwell.authoring.context import Context
from stepwell.checks import check_int, check_name
from stepwell.durations import Duration, parse_ms
from stepwell.errors import DuplicateWorkflowError, NotFoundError
from stepwell.execution.executor import Execution

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Workflow(Generic[I, R_co]):
    """A named ``async def`` function whose runs are durable."""

    def __init__(
        self, name: str, fn: Callable[..., Coroutine[Any, Any, Any]], *, version: str | None = None,
        max_events: int | None = None, execution_timeout_ms: int | None = None, input_type: type[Any] | None = None,
        retention_ms: int | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.version = version
        self.fn = fn
        """The function, for unit tests."""
        self.max_events = max_events
        self.execution_timeout_ms = execution_timeout_ms
        self.retention_ms = retention_ms
        self.takes_input = _takes_input(name, fn)
        self.input_type = input_type if input_type is not None else _input_type(fn, takes_input=self.takes_input)

    @property
    def key(self) -> tuple[str, str]:
        """Name and version, "" for none."""
        return self.name, self.version or ""

    async def execute(self, execution: Execution) -> Any:
        """Call the function with a context and the input of a run."""
        context = Context(execution)
        if not self.takes_input:
            return await self.fn(context)
        return await self.fn(context, decode_input(execution.assignment.input, self.input_type))

    def __repr__(self) -> str:
        return f"<workflow {self.name!r}>" if self.version is None else f"<workflow {self.name!r} version {self.version!r}>"


def decode_input(text: str, kind: Any) -> Any:
    """Return the input of a run as its function wants it.

    A list of exactly one element gives that element where one value is wanted; ``list[X]`` takes the whole list.

    Raises:
        ValidationError: It does not fit. The text names the field.
    """
    if kind is None:
        return codec.decode(text)
    value: Any = codec.decode(text)
    if _is_single(value) and typing.get_origin(kind) is not list and kind is not list:
        text = codec.encode(value[0], field="input", limit_bytes=2 * len(text) + 16, depth_max=1_000)
    return codec.decode(text, kind, field="input")


def _is_single(value: Any) -> bool:
    return type(value) is list and len(value) == 1  # pyright: ignore[reportUnknownArgumentType]


def _takes_input(name: str, fn: Callable[..., Any]) -> bool:
    if not inspect.iscoroutinefunction(fn):
        raise TypeError(f"workflow {name!r} needs an `async def` function, not {fn!r}")
    parameters = list(inspect.signature(fn).parameters.values())
    positional = [
        parameter for parameter in parameters if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
    ]
    variable = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    needed = [one for one in parameters if one.default is one.empty and one.kind not in variable]
    if not positional or len(needed) > 2 or not set(needed) <= set(positional):
        raise TypeError(f"workflow {name!r}: the function must take (ctx) or (ctx, input)")
    return len(positional) > 1


def _input_type(fn: Callable[..., Any], *, takes_input: bool) -> Any:
    if not takes_input:
        return None
    try:
        hints = typing.get_type_hints(fn, include_extras=True)
    except Exception:
        return None
    second = list(inspect.signature(fn).parameters)[1]
    return codec.decoder_for(hints.get(second)) if second in hints else None


class _WorkflowDecorator:
    def __init__(self, name: str, options: dict[str, Any]) -> None:
        self._name = name
        self._options = options

    @overload
    def __call__(self, fn: Callable[[Context], Coroutine[Any, Any, R]], /) -> Workflow[None, R]: ...
    @overload
    def __call__(self, fn: Callable[[Context, I], Coroutine[Any, Any, R]], /) -> Workflow[I, R]: ...
    def __call__(self, fn: Callable[..., Coroutine[Any, Any, Any]], /) -> Workflow[Any, Any]:
        return register_workflow(Workflow[Any, Any](self._name, fn, **self._options))

    @overload
    def run(self, fn: Callable[[Context], Coroutine[Any, Any, R]], /) -> Workflow[None, R]: ...
    @overload
    def run(self, fn: Callable[[Context, I], Coroutine[Any, Any, R]], /) -> Workflow[I, R]: ...
    def run(self, fn: Callable[..., Coroutine[Any, Any, Any]], /) -> Workflow[Any, Any]:
        """The same as calling the decorator: the specification's form."""
        return register_workflow(Workflow[Any, Any](self._name, fn, **self._options))


def workflow(
    name: str, *, version: str | None = None, max_events: int | None = None, execution_timeout: Duration | None = None,
    input_type: type[Any] | None = None, retention: Duration | None = None,
) -> _WorkflowDecorator:  # fmt: skip
    """Define a workflow: ``@workflow("name")`` above an ``async def``, or ``workflow("name").run(fn)``. It is registered.

    Args:
        name: 1 to 200 characters.
        version: Runs keep the version that they started with, and a worker takes only versions that it knows.
        max_events: Events in a run's history (50,000; at least 3).
        execution_timeout: From the first start on, waits included; a bare number is milliseconds (none).
        input_type: What to decode the input into, where the annotation of the second parameter does not say.
        retention: How long a run is kept once it is over (for ever).

    Raises:
        ValidationError: A bad name or option. ``field`` says which.
        TypeError: The function is not ``async def``, or takes neither (ctx) nor (ctx, input).
        DuplicateWorkflowError: Another function is registered under this name and version.
    """
    check_name(name, "workflow name")
    timeout_ms = None if execution_timeout is None else parse_ms(execution_timeout, bare="ms", field="execution_timeout")
    options: dict[str, Any] = {
        "version": None if version is None else check_name(version, "version"),
        "max_events": None if max_events is None else check_int(max_events, "max_events", 3, 10_000_000),
        "execution_timeout_ms": timeout_ms,
        "input_type": input_type,
        "retention_ms": None if retention is None else parse_ms(retention, bare="ms", field="retention"),
    }
    return _WorkflowDecorator(name, options)


class Registry:
    """Workflows by name and version."""

    def __init__(self) -> None:
        self._workflows: dict[tuple[str, str], Workflow[Any, Any]] = {}

    def add(self, wf: Workflow[Any, Any]) -> None:
        """Register; the same function defined again (a notebook cell, a reload) replaces.

        Raises:
            DuplicateWorkflowError: Another function is registered under this name and version.
        """
        known = self._workflows.get(wf.key)
        if known is not None and _place(known.fn) != _place(wf.fn):
            raise DuplicateWorkflowError(
                f"workflow {wf.name!r}{f' version {wf.version!r}' if wf.version else ''} is defined twice: "
                f"by {'.'.join(_place(known.fn))} and by {'.'.join(_place(wf.fn))}"
            )
        self._workflows[wf.key] = wf

    def versions(self, name: str) -> list[Workflow[Any, Any]]:
        """Return all versions of a name.

        Raises:
            NotFoundError: No workflow of this name is registered.
        """
        found = [wf for (known, _), wf in self._workflows.items() if known == name]
        if not found:
            names = ", ".join(sorted({known for known, _ in self._workflows})) or "none"
            raise NotFoundError(f"no workflow {name!r} is registered in this process (registered: {names})")
        return found

    def all(self) -> list[Workflow[Any, Any]]:
        """Return everything that is registered."""
        return list(self._workflows.values())

    def newest(self, name: str) -> Workflow[Any, Any] | None:
        """Return what a trigger without a version means: the definition that was registered last, if there is one."""
        for (known, _), wf in reversed(self._workflows.items()):
            if known == name:
                return wf
        return None


def _place(fn: Callable[..., Any]) -> tuple[str, str]:
    return fn.__module__, fn.__qualname__


registry: Final = Registry()
"""What ``workflow()`` puts its definitions into."""

W = TypeVar("W", bound=Workflow[Any, Any])


def register_workflow(wf: W, /) -> W:
    """Register a workflow. ``workflow()`` did so already; again does no harm.

    Raises:
        DuplicateWorkflowError: Another function is registered under this name and version.
    """
    registry.add(wf)
    return wf
