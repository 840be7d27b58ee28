"""The API, examined by schemathesis over its own description: ``python -m tests.server.examine [EXAMPLES]`` does so at length."""

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

from stepwell import Settings
from stepwell.connect import connect
from stepwell.settings import ServerSettings
from tests.servers import KEY, serving

CONFIG = Path(__file__).with_name("schemathesis.toml")
LIMITS = ServerSettings(failed_keys_per_minute_max=1_000_000, wait_ms_max=200)
"""Many wrong keys are part of it, and so are waits for what never comes."""
_NOT_OURS = "use_after_free,ensure_resource_availability"
"""A cancelled run is still there to be looked at; a run that was made just now may have no parent."""


async def examine(url: str, *options: str, is_told_at_once: bool = False) -> tuple[int, str]:
    """Return the exit code of schemathesis, and what it says, unless it was printed while it was said."""
    tool = str(Path(sys.executable).with_name("st"))
    process = await asyncio.create_subprocess_exec(
        tool, "--config-file", str(CONFIG), "run", f"{url}/openapi.json", "--checks", "all", "--exclude-checks", _NOT_OURS,
        "--header", f"Authorization: Bearer {KEY}", *options,
        stdout=None if is_told_at_once else PIPE, stderr=STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, (said or b"").decode(errors="replace")


async def main(most: str = "500") -> int:
    """Examine each operation with so many examples that chance brings, and print what is found."""
    engine = connect("memory://", settings=Settings())
    await engine.open()
    async with serving(engine, limits=LIMITS) as live:
        code, _ = await examine(live.url, "--max-examples", most, is_told_at_once=True)
    await engine.close()
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
