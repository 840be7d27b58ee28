"""``stepwell keys``: who may ask a server of this store."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

from cyclopts import App, Parameter

from stepwell.checks import check_name
from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.options import DEFAULT, Common
from stepwell.cli.output import print_json, print_table, print_value, say, when
from stepwell.connect import connect
from stepwell.durations import from_ms, parse_ms
from stepwell.engine.api import KeyBook
from stepwell.errors import NotFoundError
from stepwell.settings import ServerSettings
from stepwell.store.access import KeyRow

keys = App(name="keys", help="Who may ask a server of this store.")


@asynccontextmanager
async def _book(common: Common) -> AsyncGenerator[KeyBook]:
    engine = connect(common.store)
    if not isinstance(engine, KeyBook):
        raise UsageError("keys are made and revoked where the store is, not through a server: name the store with --store")
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


@keys.command
async def create(
    *, name: str, scope: Annotated[tuple[str, ...], Parameter(negative=())] = ("read", "trigger", "signal"),
    workflow: Annotated[tuple[str, ...], Parameter(negative=())] = (), expires: str | None = None, common: Common = DEFAULT,
) -> Exit:  # fmt: skip
    """Make a key, and show it: this once, and never again.

    Parameters
    ----------
    name
        What it is for, for people.
    scope
        What it may do: read, trigger, signal, operate (cancel, pause, retry, change), worker, records:NAME:r and records:NAME:w
        (read and write a collection; * for all), admin (everything). Several times for several.
    workflow
        Only workflows whose names begin with this. Several times for several; not given: all.
    expires
        When it ends, as in 90d. Not given: never.
    """
    try:
        # Here and not above: the extra may be missing.
        from stepwell.server.audit import Audit
        from stepwell.server.keys import SCOPES, is_scope, new_key
    except ModuleNotFoundError as error:
        raise UsageError(f"the server needs {error.name}. Install it with: pip install 'stepwell[server]'") from None
    unknown = [each for each in scope if not is_scope(each)]
    if unknown:
        raise UsageError(f"--scope must be one of {', '.join(SCOPES)}, or records:NAME:r or :w; not {', '.join(unknown)}")
    expires_ms = None if expires is None else parse_ms(expires, bare="s", field="--expires")
    for prefix in workflow:
        check_name(prefix, "--workflow")
    async with _book(common) as book:
        shown, key = new_key(check_name(name, "--name"), scope, workflow, now_ms=book.now_ms(), expires_ms=expires_ms)
        await book.keep_key(key)
        await Audit(book, days=ServerSettings.from_environment().audit_days).note("cli", "createKey", key.key_id)
    if common.json:
        print_json(_wire(key) | {"key": shown})
    else:
        say("This key is shown once. Keep it where secrets are kept:")
        print_value(shown)
    return Exit.OK


@keys.command(name="list")
async def list_(*, common: Common = DEFAULT) -> Exit:
    """List the keys, without their secrets."""
    async with _book(common) as book:
        found = await book.keys()
        now_ms = book.now_ms()
    if common.json:
        print_json({"items": [_wire(key) for key in found], "nextCursor": None})
        return Exit.OK
    columns = ("KEY", "NAME", "SCOPES", "WORKFLOWS", "CREATED", "LAST USED", "STATE")
    print_table(columns, [
        (
            key.key_id, key.name, ", ".join(json.loads(key.scopes)), ", ".join(f"{each}*" for each in json.loads(key.workflows)),
            when(from_ms(key.created_at)), when(_time(key.used_at)), _state(key, now_ms),
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
    try:
        from stepwell.server.audit import Audit
    except ModuleNotFoundError as error:
        raise UsageError(f"the server needs {error.name}. Install it with: pip install 'stepwell[server]'") from None
    async with _book(common) as book:
        if not await book.revoke_key(key):
            raise NotFoundError(f"there is no key {key!r} that still counts")
        await Audit(book, days=ServerSettings.from_environment().audit_days).note("cli", "revokeKey", key)
    if common.json:
        print_json({"keyId": key, "revoked": True})
    else:
        print_value(f"key {key} is revoked")
    return Exit.OK


def _state(key: KeyRow, now_ms: int) -> str:
    if key.revoked_at is not None:
        return f"revoked {when(from_ms(key.revoked_at))}"
    if key.expires_at is None:
        return "counts"
    return f"{'expired' if key.expires_at <= now_ms else 'counts until'} {when(from_ms(key.expires_at))}"


def _time(ms: int | None) -> datetime | None:
    return None if ms is None else from_ms(ms)


def _wire(key: KeyRow) -> dict[str, Any]:
    return {
        "keyId": key.key_id, "name": key.name, "scopes": json.loads(key.scopes), "workflows": json.loads(key.workflows),
        "createdAt": when(from_ms(key.created_at)), "expiresAt": when(_time(key.expires_at)) or None,
        "revokedAt": when(_time(key.revoked_at)) or None, "usedAt": when(_time(key.used_at)) or None,
    }  # fmt: skip
