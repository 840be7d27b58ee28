"""``stepwell demo``: 28,000 airports, a worker killed midway, and the proof that each was processed once."""

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from stepwell import AsyncClient
from stepwell.cli.exits import Exit, UsageError
from stepwell.cli.interrupts import Interrupted, Interrupts
from stepwell.cli.options import Flag, suggested
from stepwell.cli.output import print_json, say, wire
from stepwell.clock import Clock


async def demo(*, data: Path = Path(".stepwell"), store: str | None = None, json: Flag = False) -> Exit:
    """Process the airports of the world: 28,000 of them, a run a country, and a worker that is killed midway.

    Two steps an airport are recorded; at the end the histories prove that each was recorded exactly once, and that no
    recorded step ran again. The database stays for looking at.

    Parameters
    ----------
    data
        The folder for the database, the workers' logs and the journal of what ran.
    store
        Use this store instead of a new file in the folder. STEPWELL_URL is not used.
    json
        Print the result as JSON.
    """
    try:
        # Here and not above: the extra may be missing, and the demo's workflow is registered by being imported.
        from stepwell.cli.airports.demonstration import demonstrate
        from stepwell.cli.airports.shown import Shown, print_result
    except ModuleNotFoundError as error:
        raise UsageError(f"the demo needs {error.name}. Install it with: pip install 'stepwell[demo]'") from None
    folder = _made(data)
    began = datetime.fromtimestamp(Clock().now_ms() / 1000, UTC)
    name = f"airports-{began:%Y%m%d-%H%M%S}-{began.microsecond // 1000:03}"
    url = store or f"sqlite:///{quote((folder / f'{name}.db').as_posix(), safe='/:')}"
    async with Interrupts() as interrupts, AsyncClient(url) as client:
        try:
            with Shown() as shown:
                result = await interrupts.until_asked(demonstrate(client, url, name, folder, shown))
        except Interrupted:
            say(f"Stopped. What was done is in {url}, and goes on with:")
            say(f"  {suggested('worker stepwell.cli.airports', url)}")
            return Exit.INTERRUPTED
    if json:
        print_json(wire(result))
    else:
        print_result(result, name)
    return Exit.OK if result.succeeded else Exit.FAILED


def _made(data: Path) -> Path:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--data: cannot make the folder {str(data)!r}: {error.strerror}") from None
    return data.resolve()
