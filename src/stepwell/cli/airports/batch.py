"""The batch workflow of one country: validate and enrich each airport, then aggregate.

Each body notes in a journal that it runs, so that the demo can tell from outside which steps ran twice. The bodies are otherwise
without effects.
"""

import os
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final, TypedDict

from stepwell import Context, current_step, step, workflow
from stepwell.cli.airports.countries import CONTINENT_OF
from stepwell.cli.airports.geography import Airport, airports, distance_km, largest, problems_of, utc_offset_minutes

PER_AIRPORT: Final = ("validate", "enrich")
"""The steps that each airport goes through."""
ONCE: Final = ("find-largest", "aggregate")
"""The steps that each country has besides."""

_AT: Final = datetime(2026, 1, 15, 12, tzinfo=UTC)
"""When time zone offsets are taken. A fixed time: a body that is asked again must answer the same."""
_AT_ONCE: Final = 200


class Country(TypedDict):
    """What a run is about, and where its journal is."""

    country: str
    journal: str


class Validated(TypedDict):
    """What validating an airport found."""

    icao: str
    problems: list[str]


class Enriched(TypedDict):
    """What enriching an airport added."""

    icao: str
    offset_minutes: int
    km: float


class Summary(TypedDict):
    """A country's output."""

    country: str
    continent: str
    largest: str
    airports: int
    faulty: int
    km: float
    """The distances to the largest airport, summed up."""
    farthest: str
    farthest_km: float
    offsets: list[int]


@step("find-largest")
async def find_largest(country: str, journal: str) -> str:
    """Return the ICAO code of the country's largest airport."""
    _note(journal)
    return largest(airports()[country])["icao"]


@step("validate")
async def validate(icao: str, country: str, journal: str) -> Validated:
    """Look for mistakes in an airport's entry."""
    _note(journal)
    return Validated(icao=icao, problems=problems_of(_airports_by_icao(country)[icao]))


@step("enrich")
async def enrich(icao: str, country: str, hub: str, journal: str) -> Enriched:
    """Find the airport's time zone offset, and how far it is from the country's largest one."""
    _note(journal)
    known = _airports_by_icao(country)
    km = distance_km(known[icao], known[hub])
    return Enriched(icao=icao, offset_minutes=utc_offset_minutes(known[icao]["tz"], _AT), km=round(km, 1))


@step("aggregate")
async def aggregate(country: str, hub: str, checks: list[Validated], places: list[Enriched], journal: str) -> Summary:
    """Sum a country up."""
    _note(journal)
    known = _airports_by_icao(country)
    farthest = max(places, key=lambda place: place["km"])
    return Summary(
        country=country,
        continent=CONTINENT_OF[country],
        largest=known[hub]["name"],
        airports=len(places),
        faulty=sum(bool(check["problems"]) for check in checks),
        km=round(sum(place["km"] for place in places), 1),
        farthest=known[farthest["icao"]]["name"],
        farthest_km=farthest["km"],
        offsets=sorted({place["offset_minutes"] for place in places}),
    )


@workflow("airports-of-a-country", max_events=100_000)
async def process_country(ctx: Context, input: Country) -> Summary:
    """Fan out over the country's airports, two steps each; fan in to one summary."""
    country, journal = input["country"], input["journal"]
    hub = await find_largest(country, journal)

    async def one(airport: Airport) -> tuple[Validated, Enriched]:
        icao = airport["icao"]
        return await validate(icao, country, journal), await enrich(icao, country, hub, journal)

    done = await ctx.map(one, airports()[country], limit=_AT_ONCE)
    return await aggregate(country, hub, [check for check, _ in done], [place for _, place in done], journal)


@cache
def _airports_by_icao(country: str) -> dict[str, Airport]:
    return {airport["icao"]: airport for airport in airports()[country]}


def _note(journal: str) -> None:
    """Write down that the body of this step runs. One write to a file opened for appending is never torn or lost by SIGKILL."""
    running = current_step()
    os.write(_opened(journal), f"{running.run_id}\t{running.step_id}\n".encode())


@cache
def _opened(journal: str) -> int:
    return os.open(Path(journal), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
