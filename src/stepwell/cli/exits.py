"""How commands end: exit codes, and which error means which."""

from enum import IntEnum

from stepwell.errors import NotFoundError, PayloadTooLargeError, StepwellError, UnavailableError, ValidationError


class Exit(IntEnum):
    """The exit codes."""

    OK = 0
    FAILED = 1
    """The run failed or was cancelled; or the request was refused."""
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    INTERRUPTED = 130
    """Ctrl-C, or the end of a pipe: what was asked for is not over."""


class UsageError(Exception):
    """The command line makes no sense. ``detail`` is shown below the message: the tail of somebody's traceback."""

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


_OPTION_OF = {
    "input": "--input",
    "payload": "--payload",
    "run_id": "--id",
    "idempotency_key": "--key",
    "signal_id": "--id",
    "tags": "--tag",
    "tag": "--tag",
    "priority": "--priority",
    "delay": "--delay",
    "limit": "--limit",
    "cursor": "--cursor",
    "status": "--status",
    "workflow_name": "--workflow",
    "concurrency": "--concurrency",
    "drain_timeout": "--drain-timeout",
    "reason": "--reason",
    "from_event": "--from-event",
    "version": "--version",
    "value": "--value",
    "created_after": "--created-after",
    "created_before": "--created-before",
    "parent_run_id": "--parent",
    "name": "--name",
    "scopes": "--scope",
    "workflows": "--workflow",
    "triggers_per_second": "--triggers-per-second",
    "expires": "--expires",
    "url": "--store or STEPWELL_URL",
}
"""The option that a field of the client's calls comes from."""


def exit_code(error: StepwellError) -> Exit:
    """Return how a command ends that met this error."""
    match error:
        case ValidationError() | PayloadTooLargeError():
            return Exit.USAGE
        case UnavailableError():
            return Exit.UNREACHABLE
        case NotFoundError():
            return Exit.NOT_FOUND
        case _:
            return Exit.FAILED


def explain(error: StepwellError) -> str:
    """Return the line that tells a person what went wrong, with the option to change where there is one."""
    message = str(error) or type(error).__name__
    if isinstance(error, ValidationError):
        option = _OPTION_OF.get(error.field.partition("/")[0])
        if option is not None and not message.startswith(option):
            return f"{option}: {message}"
    return message
