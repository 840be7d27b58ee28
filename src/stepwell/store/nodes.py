"""What nodes say about themselves in their rows."""

from collections.abc import Sequence

import msgspec


class _Info(msgspec.Struct):
    pid: int = 0
    host: str = ""
    workflows: list[tuple[str, str]] = []


def workflows_of(info: str) -> list[tuple[str, str]]:
    """Return the workflows that a node's workers know, by name and version."""
    try:
        return msgspec.json.decode(info, type=_Info).workflows
    except msgspec.DecodeError:
        return []


def processes(infos: Sequence[str]) -> str:
    """Return which processes these nodes are in, for people."""
    return ", ".join(sorted({_process(info) for info in infos}))


def _process(info: str) -> str:
    try:
        told = msgspec.json.decode(info, type=_Info)
    except msgspec.DecodeError:
        return "an unknown process"
    return f"process {told.pid} on {told.host}"
