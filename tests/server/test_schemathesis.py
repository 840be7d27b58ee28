"""The description of the API is true: every answer is one that it names, and nothing makes the server fail."""

from stepwell.engine.api import Engine
from tests.server.examine import LIMITS, examine
from tests.servers import serving


async def test_what_the_server_answers_is_what_its_description_says(engine: Engine):
    async with serving(engine, limits=LIMITS) as live:
        code, said = await examine(live.url, "--max-examples", "12", "--seed", "7")
    assert code == 0, said
