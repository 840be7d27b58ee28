"""``stepwell serve``: a store, for programs in any language and workers on other machines."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.interrupts import Interrupted, Interrupts
from stepwell.cli.options import DEFAULT, Common, Flag
from stepwell.cli.output import print_line, say
from stepwell.cli.processes import Command, serve_in_processes, until_parent_is_gone
from stepwell.cli.stores import audit_of, note_start
from stepwell.connect import DEFAULT_URL, connect
from stepwell.engine.access_calls import KeyBook, NewKey
from stepwell.engine.api import Engine
from stepwell.settings import api_key_from_environment, environment_of_child, url_from_environment
from stepwell.store.access import KeyRow

Several: TypeAlias = Annotated[tuple[str, ...], Parameter(negative=())]
_KEY_LENGTH_MIN = 20


async def serve(
    *, host: str = "127.0.0.1", port: int = 7331, no_auth: Flag = False, allow_host: Several = (), allow_origin: Several = (),
    behind_proxy: Several = (), tls_cert: str | None = None, tls_key: str | None = None, processes: int = 1,
    logs: str = "auto", inherited: Annotated[int | None, Parameter(show=False)] = None, common: Common = DEFAULT,
) -> Exit:  # fmt: skip
    """Serve a store over HTTP.

    SIGTERM or Ctrl-C stops it: steps under way at its workers may end, their runs are handed back, requests under way finish, and
    streams end. A second one does not wait for the steps.

    Parameters
    ----------
    host
        The address to listen on. Off loopback a key must be there before: see `stepwell keys create`.
    port
        The port to listen on; 0 for any that is free.
    no_auth
        Take requests without a key. On loopback only.
    allow_host
        A further name by which it may be addressed. Several times for several.
    allow_origin
        A web page's origin that may send requests, as https://ops.example.com. Several times for several.
    behind_proxy
        The address of a proxy whose X-Forwarded headers are believed. Several times for several.
    tls_cert
        A file with the certificate, and those above it.
    tls_key
        The file with its key.
    processes
        How many processes share the port; whichever dies is replaced. On SQLite one.
    logs
        human, json, or auto: human at a terminal, json elsewhere.
    inherited
        The number of the socket that a parent has opened: for the processes of `--processes`.
    """
    try:
        # Here and not above: the extra may be missing, and other commands start sooner without it.
        from stepwell.server.app import create_app
        from stepwell.server.desk import Desk
        from stepwell.server.keys import SCOPES, counts
        from stepwell.server.logs import configure
        from stepwell.server.serving import listen, served, taken_over
    except ModuleNotFoundError as error:
        raise UsageError(f"the server needs {error.name}. Install it with: pip install 'stepwell[server]'") from None
    _check_processes(processes, common)
    configure(logs)
    fixed = None if no_auth else api_key_from_environment()
    is_local = host == "localhost" or _is_loopback(host)
    if no_auth and not is_local:
        raise UsageError(f"--no-auth is for this machine alone, and {host} is not: take it away, or --host")
    if fixed is not None and len(fixed) < _KEY_LENGTH_MIN:
        raise UsageError(f"STEPWELL_API_KEY must have at least {_KEY_LENGTH_MIN} characters: who guesses it may do everything")
    if (tls_cert is None) != (tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together")
    if inherited is None and not (is_local or tls_cert or behind_proxy):
        say(
            "warning: keys and payloads cross the network unencrypted: give --tls-cert and --tls-key, or --behind-proxy", "yellow"
        )
    listening = listen(host, port) if inherited is None else taken_over(inherited)
    port = listening.getsockname()[1]
    engine = connect(common.store)
    try:
        async with Interrupts() as interrupts:
            await engine.open()
            app = create_app(engine, api_key=fixed, no_auth=no_auth, hosts=_hosts(host, allow_host), origins=allow_origin)
            if inherited is None:
                has_key = no_auth or fixed is not None or await _has_key(engine, counts)
                if not has_key and not is_local:
                    raise UsageError("off loopback a key must be there first: make one with `stepwell keys create`")
                if not has_key and isinstance(engine, KeyBook):
                    made = await Desk(engine, audit=audit_of(engine)).create_key(NewKey(name="first", scopes=SCOPES))
                    say(f"The first key, which may do everything, is shown this once: {made.key}")
                given = _options({
                    "--allow-host": allow_host, "--allow-origin": allow_origin, "--behind-proxy": behind_proxy,
                    "--tls-cert": [tls_cert], "--processes": [str(processes)] if processes > 1 else [],
                })  # fmt: skip
                await note_start(engine, app.world.limits, f"{host}:{port}", [*(["--no-auth"] if no_auth else []), *given])
            scheme = "https" if tls_cert else "http"
            if processes > 1:
                # What has opened the store here is not needed any more; the processes open it for themselves.
                await engine.close()
                limits = app.world.limits
                command = Command(
                    ("serve", "--json", *(["--no-auth"] if no_auth else []), *_options({
                        "--host": [host], "--port": [str(port)], "--logs": [logs], "--allow-host": allow_host,
                        "--allow-origin": allow_origin, "--behind-proxy": behind_proxy, "--tls-cert": [tls_cert],
                        "--tls-key": [tls_key], "--inherited": [str(listening.fileno())],
                    })),
                    # In the environment, where no list of processes shows its password.
                    environment_of_child(common.store), listening.fileno(),
                )  # fmt: skip
                return Exit(
                    await serve_in_processes(
                        command, processes, interrupts, stop_s=(limits.drain_ms + limits.stop_ms_max) / 1000,
                        ready=lambda: _tell_where(scheme, host, port, common),
                    )
                )  # fmt: skip
            async with served(app, listening, proxies=behind_proxy, tls=(tls_cert, tls_key)):
                _tell_where(scheme, host, port, common)
                await (interrupts.asked() if inherited is None else _asked_or_orphaned(interrupts))
                gateway = app.world.gateway
                if gateway.links:
                    left_s = gateway.limits.drain_ms / 1000
                    say(f"stopping: steps under way may end within {left_s:g} s; a second signal does not wait", "dim")
                with suppress(Interrupted):
                    await interrupts.unless_insisted(gateway.drain())
    finally:
        listening.close()
        await engine.close()
    return Exit.OK


def _options(given: Mapping[str, Sequence[str | None]]) -> list[str]:
    return [part for name, values in given.items() for value in values if value is not None for part in (name, value)]


async def _asked_or_orphaned(interrupts: Interrupts) -> None:
    waits = {asyncio.ensure_future(interrupts.asked()), asyncio.ensure_future(until_parent_is_gone())}
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def _check_processes(processes: int, common: Common) -> None:
    if processes == 1:
        return
    if processes < 1:
        raise UsageError(f"--processes must be a whole number from 1 up, not {processes}")
    if not (common.store or url_from_environment() or DEFAULT_URL).startswith(("postgresql:", "postgres:")):
        raise UsageError("--processes is for PostgreSQL: a SQLite file is served by one process, which is also the fastest")
    if sys.platform == "win32":
        raise UsageError("--processes needs sockets that processes inherit, which Windows does not have: start several servers")


async def _has_key(engine: Engine, counts: Callable[[KeyRow, int], bool]) -> bool:
    return isinstance(engine, KeyBook) and any(counts(key, engine.now_ms()) for key in await engine.keys())


def _tell_where(scheme: str, host: str, port: int, common: Common) -> None:
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    if common.json:
        print_line({"event": "ready", "url": url})
    else:
        say(f"ready: {url}/api/workflows, documentation at {url}/docs")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _hosts(host: str, more: Sequence[str]) -> tuple[str, ...]:
    shown = f"[{host}]" if ":" in host else host
    return ("127.0.0.1", "localhost", "[::1]", shown, *more, *(("*",) if host in {"0.0.0.0", "::"} else ()))  # noqa: S104
