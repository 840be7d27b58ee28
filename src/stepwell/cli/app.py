"""The commands, put together; and the only place that turns errors into exit codes."""

import asyncio
import gc
import inspect
import os
import sys
import threading
from collections.abc import Sequence
from typing import Final

from cyclopts import App, CycloptsError
from rich.console import Console
from rich.text import Text

from stepwell.cli.exits import Exit, UsageError, exit_code, explain
from stepwell.cli.output import notes, plain, say
from stepwell.errors import StepwellError


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("stepwell")
    except PackageNotFoundError:
        return "unknown"


_STEP_THREADS = "stepwell-step"
_THREAD_ENDS_S = 1.0
_ABOUT = "Durable workflows: they survive the processes that run them."
app = App(name="stepwell", help=_ABOUT, version=_version, help_format="plaintext")
_COMMANDS: Final = "run trigger runs records signal hook worker serve dev keys doctor check db demo".split()
for command in _COMMANDS:
    app.command(f"stepwell.cli.{command}:{command}")  # loaded when it is asked for
app.register_install_completion_command()  # pyright: ignore[reportUnknownMemberType] - its keywords are not typed there
_YOUNG_OBJECTS: Final = 50_000


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        # Not on Windows.
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _collect_garbage_less() -> None:
    """This process is ours alone: what is loaded now stays, and runs come and go by the thousand without making cycles.

    Python's defaults cost a worker a fifth of its speed.
    """
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)


def main() -> None:
    """Run the command that ``sys.argv`` names, and exit."""
    sys.exit(run_command_line(sys.argv[1:]))


def run_command_line(tokens: Sequence[str]) -> int:
    """Run a command; return its exit code. A user's mistake never shows a traceback."""
    if not tokens or tokens[0] in app.help_flags:
        _load_commands()
    try:
        command, bound, _ = app.parse_args(
            tokens, console=Console(), error_console=notes(), error_formatter=_parse_error, exit_on_error=False
        )
        code = command(*bound.args, **bound.kwargs)
        if inspect.iscoroutine(code):
            with asyncio.Runner(loop_factory=_new_event_loop) as runner:
                _collect_garbage_less()
                code = runner.run(code)
                _leave_threads_behind(code)
        sys.stdout.flush()
    except CycloptsError:
        return Exit.USAGE
    except UsageError as error:
        say(f"stepwell: {error}", "red")
        if error.detail:
            say(error.detail)
        return Exit.USAGE
    except StepwellError as error:
        say(f"stepwell: {explain(error)}", "red")
        return exit_code(error)
    except BrokenPipeError:
        # Whoever read our output has gone, as in `stepwell runs list | head`. Python would complain once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.INTERRUPTED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return code if isinstance(code, int) else Exit.OK


def _load_commands() -> None:
    """Load all of them: of one that is not loaded, the help shows the name alone."""
    for name in _COMMANDS:
        app[name]


def _leave_threads_behind(code: int) -> None:
    """Exit now, if steps in threads outlived the drain: a thread cannot be stopped, and Python would wait for it."""
    steps = [thread for thread in threading.enumerate() if thread.name.startswith(_STEP_THREADS)]
    for thread in steps:
        thread.join(_THREAD_ENDS_S / len(steps))
    if any(thread.is_alive() for thread in steps):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _parse_error(error: CycloptsError) -> Text:
    return Text(f"stepwell: {plain(str(error))}", style="red")
