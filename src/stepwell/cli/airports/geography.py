"""The airports, and arithmetic about them. No workflows here.

The data are those of the package ``airportsdata``: the same for every process that has the same version of it, which is what a
workflow's body needs of whatever it reads without recording it.
"""

import math
from datetime import datetime
from functools import cache
from typing import Final, TypedDict
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import airportsdata

from stepwell.cli.airports.countries import BUSIEST

_EARTH_KM: Final = 6371.0
_CLOSE_KM: Final = 100.0
_ELEVATIONS_FT: Final = (-1_500.0, 20_000.0)


class Airport(TypedDict):
    """One airport; ``elevation`` is in feet. ``iata`` and ``city`` may be empty."""

    icao: str
    iata: str
    name: str
    city: str
    country: str
    elevation: float
    lat: float
    lon: float
    tz: str


@cache
def airports() -> dict[str, list[Airport]]:
    """Return the airports of each country, by ICAO code in both directions: countries and their airports are sorted."""
    countries: dict[str, list[Airport]] = {}
    for icao, found in sorted(airportsdata.load("ICAO").items()):
        countries.setdefault(found["country"], []).append(Airport(
            icao=icao, iata=found["iata"], name=found["name"], city=found["city"], country=found["country"],
            elevation=found["elevation"], lat=found["lat"], lon=found["lon"], tz=found["tz"],
        ))  # fmt: skip
    return dict(sorted(countries.items()))


def distance_km(a: Airport, b: Airport) -> float:
    """Return the great-circle distance, by the haversine formula."""
    a_lat, b_lat = math.radians(a["lat"]), math.radians(b["lat"])
    chord = math.sin((b_lat - a_lat) / 2) ** 2
    chord += math.cos(a_lat) * math.cos(b_lat) * math.sin(math.radians(b["lon"] - a["lon"]) / 2) ** 2
    return 2 * _EARTH_KM * math.asin(min(1.0, math.sqrt(chord)))


def largest(country: list[Airport]) -> Airport:
    """Return the country's largest airport.

    The data hold no passengers. So it is the one that ``BUSIEST`` names; else, among the international airports with an IATA
    code (or else those with a code, or else all), the one with the most coded airports within 100 km, as a sign of how many
    people live around it; of equals the first by ICAO code.
    """
    named = [airport for airport in country if airport["iata"] and airport["iata"] == BUSIEST.get(airport["country"])]
    if named:
        return named[0]
    coded = [airport for airport in country if airport["iata"]]
    candidates = [airport for airport in coded if "International" in airport["name"]] or coded or country
    return max(candidates, key=lambda one: sum(distance_km(one, other) <= _CLOSE_KM for other in coded))


def utc_offset_minutes(zone: str, at: datetime) -> int:
    """Return how far local time in ``zone`` is ahead of UTC at that moment."""
    offset = at.astimezone(ZoneInfo(zone)).utcoffset()
    assert offset is not None
    return int(offset.total_seconds() // 60)


def problems_of(airport: Airport) -> list[str]:
    """Return what is wrong with an airport's entry, a few words each."""
    lowest, highest = _ELEVATIONS_FT
    checks = {
        "no name": bool(airport["name"].strip()),
        "bad ICAO code": len(airport["icao"]) == 4 and airport["icao"].isalnum(),
        "bad IATA code": not airport["iata"] or (len(airport["iata"]) == 3 and airport["iata"].isalpha()),
        "off the map": abs(airport["lat"]) <= 90 and abs(airport["lon"]) <= 180,
        "in the middle of nowhere": (airport["lat"], airport["lon"]) != (0.0, 0.0),
        "impossible elevation": lowest <= airport["elevation"] <= highest,
        "unknown time zone": _is_zone(airport["tz"]),
    }
    return [problem for problem, passed in checks.items() if not passed]


@cache
def _is_zone(zone: str) -> bool:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
