"""The API, examined by schemathesis over its own description: ``python -m tests.server.examine`` does so at length."""

import asyncio
import sys
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


async def examine(url: str, *options: str) -> tuple[int, str]:
    """Return the exit code of schemathesis, and what it says."""
    tool = str(Path(sys.executable).with_name("st"))
    process = await asyncio.create_subprocess_exec(
        tool, "--config-file", str(CONFIG), "run", f"{url}/openapi.json", "--checks", "all", "--exclude-checks", _NOT_OURS,
        "--header", f"Authorization: Bearer {KEY}", *options,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode(errors="replace")


async def main() -> int:
    """Examine at length, with what chance brings."""
    engine = connect("memory://", settings=Settings())
    await engine.open()
    async with serving(engine, limits=LIMITS) as live:
        code, said = await examine(live.url, "--max-examples", "500")
    await engine.close()
    print(said)
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
