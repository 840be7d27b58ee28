"""``stepwell keys``: who may ask a server; at its store, or through the server itself."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from cyclopts import App, Parameter

from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.options import DEFAULT, Common
from stepwell.cli.output import print_json, print_table, print_value, say, when, wire
from stepwell.cli.stores import audit_of
from stepwell.connect import connect
from stepwell.durations import from_ms, parse_ms
from stepwell.engine.access_calls import KeyBook, KeyDesk, KeyInfo, NewKey

keys = App(name="keys", help="Who may ask a server.")


@asynccontextmanager
async def _desk(common: Common) -> AsyncGenerator[tuple[KeyDesk, int]]:
    """Where keys are made for the store or server that was named, and what time it is there, in ms since 1970 UTC."""
    engine = connect(common.store)
    await engine.open()
    try:
        yield engine if isinstance(engine, KeyDesk) else _at_store(engine), engine.now_ms()
    finally:
        await engine.close()


def _at_store(engine: object) -> KeyDesk:
    assert isinstance(engine, KeyBook), "an engine keeps keys, or asks one that does"
    try:
        # Here and not above: the extra may be missing.
        from stepwell.server.desk import Desk
    except ModuleNotFoundError as error:
        raise UsageError(f"the server needs {error.name}. Install it with: pip install 'stepwell[server]'") from None
    return Desk(engine, audit=audit_of(engine))


@keys.command
async def create(
    *, name: str, scope: Annotated[tuple[str, ...], Parameter(negative=())] = ("read", "trigger", "signal"),
    workflow: Annotated[tuple[str, ...], Parameter(negative=())] = (), triggers_per_second: int | None = None,
    expires: str | None = None, common: Common = DEFAULT,
) -> Exit:  # fmt: skip
    """Make a key, and show it: this once, and never again. Through a server, the key that asks needs the scope admin.

    Parameters
    ----------
    name
        What it is for, for people.
    scope
        What it may do: read, trigger, signal, operate (cancel, pause, retry, change), worker, records:NAME:r and records:NAME:w
        (read and write a collection; * for all), admin (everything). Several times for several.
    workflow
        Only workflows whose names begin with this. Several times for several; not given: all.
    triggers_per_second
        How many runs it may make, on average, at each server. Not given: no limit.
    expires
        When it ends, as in 90d. Not given: never.
    """
    wanted = NewKey(
        name=name, scopes=scope, workflows=workflow, triggers_per_second=triggers_per_second,
        expires_ms=None if expires is None else parse_ms(expires, bare="s", field="expires"),
    )  # fmt: skip
    async with _desk(common) as (desk, _):
        made = await desk.create_key(wanted)
    if common.json:
        print_json(wire(made))
    else:
        say("This key is shown once. Keep it where secrets are kept:")
        print_value(made.key)
    return Exit.OK


@keys.command(name="list")
async def list_(*, common: Common = DEFAULT) -> Exit:
    """List the keys, without their secrets."""
    async with _desk(common) as (desk, now_ms):
        found = await desk.list_keys()
    if common.json:
        print_json({"items": found, "nextCursor": None})
        return Exit.OK
    columns = ("KEY", "NAME", "SCOPES", "WORKFLOWS", "TRIGGERS", "CREATED", "LAST USED", "STATE")
    print_table(columns, [
        (
            key.key_id, key.name, ", ".join(key.scopes), ", ".join(f"{each}*" for each in key.workflows),
            "" if key.triggers_per_second is None else f"{key.triggers_per_second:,}/s", when(key.created_at), when(key.used_at),
            _state(key, now_ms),
        )
        for key in found
    ])  # fmt: skip
    return Exit.OK


@keys.command
async def revoke(key: str, /, *, common: Common = DEFAULT) -> Exit:
    """End a key for good. Servers take it no more within five seconds, also on connections that are open.

    Parameters
    ----------
    key
        The key's id, as `stepwell keys list` shows it: the eight letters behind swk_.
    """
    async with _desk(common) as (desk, _):
        revoked = await desk.revoke_key(key)
    if common.json:
        print_json(wire(revoked))
    else:
        print_value(f"key {key} is revoked")
    return Exit.OK


def _state(key: KeyInfo, now_ms: int) -> str:
    if key.revoked_at is not None:
        return f"revoked {when(key.revoked_at)}"
    if key.expires_at is None:
        return "counts"
    return f"{'expired' if key.expires_at <= from_ms(now_ms) else 'counts until'} {when(key.expires_at)}"
