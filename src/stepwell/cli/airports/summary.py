"""Countries summed up by continent. Pure."""

from collections.abc import Iterable

import msgspec

from stepwell.cli.airports.batch import Summary


class Continent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One line of the demo's table."""

    continent: str
    countries: int
    airports: int
    faulty: int
    """Entries with a mistake."""
    mean_km: float
    """The mean distance of an airport to the largest one of its country."""
    farthest: str
    farthest_km: float
    time_zones: int
    """How many different time zone offsets there are."""


def by_continent(countries: Iterable[Summary]) -> list[Continent]:
    """Return a line for each continent, the one with the most airports first."""
    parts: dict[str, list[Summary]] = {}
    for country in countries:
        parts.setdefault(country["continent"], []).append(country)
    return sorted((_continent(name, part) for name, part in parts.items()), key=lambda one: (-one.airports, one.continent))


def _continent(name: str, countries: list[Summary]) -> Continent:
    airports = sum(country["airports"] for country in countries)
    farthest = max(countries, key=lambda country: country["farthest_km"])
    return Continent(
        continent=name,
        countries=len(countries),
        airports=airports,
        faulty=sum(country["faulty"] for country in countries),
        mean_km=round(sum(country["km"] for country in countries) / airports, 1),
        farthest=farthest["farthest"],
        farthest_km=farthest["farthest_km"],
        time_zones=len({offset for country in countries for offset in country["offsets"]}),
    )
