"""``stepwell serve``: a store, for programs in any language and workers on other machines."""

from ipaddress import ip_address
from typing import Annotated

from cyclopts import Parameter

from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.interrupts import Interrupts
from stepwell.cli.options import Flag
from stepwell.cli.output import print_line, say
from stepwell.connect import connect
from stepwell.settings import api_key_from_environment


async def serve(
    *, store: Annotated[str | None, Parameter(name=("--store", "--url"))] = None, host: str = "127.0.0.1", port: int = 7331,
    no_auth: Flag = False, json: Flag = False,
) -> Exit:  # fmt: skip
    """Serve a store over HTTP.

    SIGTERM or Ctrl-C stops it: requests under way finish, streams end.

    Parameters
    ----------
    store
        Where the runs are: sqlite:///file.db. Otherwise STEPWELL_URL, or .stepwell/stepwell.db here.
    host
        The address to listen on.
    port
        The port to listen on; 0 for any that is free.
    no_auth
        Take requests without a key. On loopback only.
    json
        Print JSON, for programs.
    """
    try:
        # Here and not above: the extra may be missing, and other commands start sooner without it.
        from stepwell.server.app import create_app
        from stepwell.server.serving import listen, served
    except ModuleNotFoundError as error:
        raise UsageError(f"the server needs {error.name}. Install it with: pip install 'stepwell[server]'") from None
    key = api_key_from_environment()
    is_local = host == "localhost" or _is_loopback(host)
    if no_auth and not is_local:
        raise UsageError(f"--no-auth is for this machine alone, and {host} is not: take it away, or --host")
    if not no_auth and key is None:
        raise UsageError("set STEPWELL_API_KEY to the key that clients have to show (or, on loopback, give --no-auth)")
    listening = listen(host, port)
    port = listening.getsockname()[1]
    engine = connect(store)
    try:
        async with Interrupts() as interrupts:
            await engine.open()
            async with served(create_app(engine, api_key=key, no_auth=no_auth, hosts=_hosts(host)), listening):
                url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
                if json:
                    print_line({"event": "ready", "url": url})
                else:
                    say(f"ready: {url}/api/workflows, documentation at {url}/docs")
                await interrupts.asked()
    finally:
        listening.close()
        await engine.close()
    return Exit.OK


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _hosts(host: str) -> tuple[str, ...]:
    shown = f"[{host}]" if ":" in host else host
    return ("127.0.0.1", "localhost", "[::1]", shown, *(("*",) if host in {"0.0.0.0", "::"} else ()))  # noqa: S104
