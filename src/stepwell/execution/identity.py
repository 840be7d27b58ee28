"""Who an operation is: the path of its branch, its kind, its name, and an ordinal.

``fetch-user``, ``process-item#3``, ``parallel#0/2/resize``, ``~1/charge@order-17``, ``signal:approve``. Identities are keys, not
positions: code may move or gain operations while runs are in flight. Text only; nothing here runs anything.
"""

import random
from functools import lru_cache
from hashlib import blake2b
from typing import Final

KINDS: Final = ("sleep", "signal", "race", "random", "uuid4", "hook", "child", "state", "patch", "event", "compensate")
"""Kinds of operations other than steps; each prefixes its name with ``kind:``."""

_KEY_LENGTH_MAX: Final = 200
_ESCAPES = str.maketrans({"%": "%25", "#": "%23", "/": "%2F", "~": "%7E", "@": "%40"})


def kind_of(identity: str) -> str:
    """Return the kind of operation that has an identity: ``step``, or one of ``KINDS``."""
    kind, colon, _ = identity.rpartition("/")[2].partition(":")
    return kind if colon and kind in KINDS else "step"


@lru_cache(maxsize=10_000)
def step_key(name: str) -> str:
    """Return the name of a step as it stands in identities, where ``# / ~ @ %`` mean something else."""
    key = name.translate(_ESCAPES)
    kind, colon, rest = key.partition(":")
    return f"{kind}%3A{rest}" if colon and kind in KINDS else key


def pinned(step: str, key: str) -> str:
    """Return the key of a step that is pinned to a business id: ``charge@order-17``."""
    return f"{step}@{key.translate(_ESCAPES)}"


def operation_key(kind: str, name: str = "") -> str:
    """Return the key of an operation that is not a step, without its ordinal."""
    return f"{kind}:{name.translate(_ESCAPES)}"


def compensation_key(identity: str) -> str:
    """Return the identity of the compensation of a step: ``compensate:charge#1``, in the step's branch."""
    path, slash, own = identity.rpartition("/")
    return f"{path}{slash}compensate:{own}"


def is_compensation(identity: str) -> bool:
    """Tell whether this is the identity of a compensation."""
    return identity.startswith("compensate:", identity.rfind("/") + 1)


def derived_random(seed: str, identity: str) -> random.Random:
    """Return a generator that gives one run the same numbers at the same call, for ever."""
    return random.Random(derived_int(seed, identity))  # noqa: S311 - replayable, not secret


def call_key(run_id: str, step_id: str, call: int) -> str:
    """Return what a call of the client from the body of a step has for an id: the same when the step is tried again."""
    key = f"{run_id}/{step_id}/{call}"
    return key if len(key) <= _KEY_LENGTH_MAX else f"{key[:100]}/{blake2b(key.encode(), digest_size=16).hexdigest()}/{call}"


def child_id(call: str) -> str:
    """Return the id of the run that is triggered by a call with this key, as a child of the run that makes it."""
    return f"child-{blake2b(call.encode(), digest_size=16).hexdigest()}"


def fork_id(call: str) -> str:
    """Return the id of the run that is forked by a call with this key."""
    return f"fork-{blake2b(call.encode(), digest_size=16).hexdigest()}"


def derived_int(seed: str, identity: str) -> int:
    """Return 128 bits that depend on the run's seed and the call's identity, and on nothing else."""
    return int.from_bytes(blake2b(f"{seed}\0{identity}".encode(), digest_size=16).digest())
