"""What nodes say about themselves in their rows."""

import msgspec


class _Info(msgspec.Struct):
    workflows: list[tuple[str, str]] = []


def workflows_of(info: str) -> list[tuple[str, str]]:
    """Return the workflows that a node's workers know, by name and version."""
    try:
        return msgspec.json.decode(info, type=_Info).workflows
    except msgspec.DecodeError:
        return []
