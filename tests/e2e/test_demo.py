"""The demo, from its parts to the whole."""

import math
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stepwell import Event
from stepwell.cli.airports.batch import ONCE, PER_AIRPORT, Summary
from stepwell.cli.airports.countries import BUSIEST, CONTINENT_OF
from stepwell.cli.airports.geography import Airport, airports, distance_km, largest, problems_of, utc_offset_minutes
from stepwell.cli.airports.proof import StepOf, prove, read_journal
from stepwell.cli.airports.summary import by_continent
from tests.e2e.commands import Shell

AT = datetime(2026, 1, 15, 12, tzinfo=UTC)


def airport(icao: str = "ABCD", *, iata: str = "", name: str = "Field", lat: float = 1.0, lon: float = 1.0) -> Airport:
    return Airport(icao=icao, iata=iata, name=name, city="", country="XX", elevation=0.0, lat=lat, lon=lon, tz="UTC")


# -- the data and what is computed from it


def test_every_country_has_a_continent_and_every_busiest_airport_is_in_its_country():
    assert set(airports()) <= set(CONTINENT_OF)
    assert len(airports()) > 200
    for country, iata in BUSIEST.items():
        assert largest(airports()[country])["iata"] == iata


def test_a_quarter_of_the_equator_is_a_quarter_of_the_earths_circumference():
    a, b = airport(lat=0.0, lon=0.0), airport(lat=0.0, lon=90.0)
    assert distance_km(a, b) == pytest.approx(math.pi * 6371 / 2)
    assert distance_km(a, a) == 0


def test_opposite_points_are_half_the_circumference_apart():
    assert distance_km(airport(lat=90.0), airport(lat=-90.0)) == pytest.approx(math.pi * 6371)


def test_the_largest_airport_is_the_international_one_with_the_most_neighbours():
    near = [airport(f"N00{n}", iata=f"N{n}X", lat=10.0 + n / 10, lon=10.0) for n in range(3)]
    busy = airport("BUSY", iata="BSY", name="Busy International", lat=10.0, lon=10.0)
    lone = airport("ALON", iata="ALO", name="Alone International", lat=50.0, lon=50.0)
    assert largest([lone, *near, busy]) == busy
    assert largest([lone, *near]) == lone
    assert largest([airport("ZZZZ"), airport("YYYY")])["icao"] == "ZZZZ"


def test_offsets_are_those_of_the_zone_at_that_time():
    assert utc_offset_minutes("Asia/Kathmandu", AT) == 345
    assert utc_offset_minutes("America/New_York", AT) == -300
    assert utc_offset_minutes("Europe/Zurich", AT) == 60


def test_mistakes_in_an_entry_are_named():
    assert problems_of(airport()) == []
    wrong = airport("_XY", iata="A1", name=" ", lat=91.0)
    assert problems_of(wrong) == ["no name", "bad ICAO code", "bad IATA code", "off the map"]
    assert problems_of(airport(lat=0.0, lon=0.0)) == ["in the middle of nowhere"]
    wrong = airport()
    wrong["tz"], wrong["elevation"] = "Mars/Olympus", 70_000.0
    assert problems_of(wrong) == ["impossible elevation", "unknown time zone"]


def test_continents_add_up():
    def country(name: str, continent: str, airports: int, km: float, offsets: list[int]) -> Summary:
        return Summary(
            country=name, continent=continent, largest="", airports=airports, faulty=1, km=km, farthest=name, farthest_km=km,
            offsets=offsets,
        )  # fmt: skip

    asia, europe = by_continent([
        country("B", "Europe", 3, 9, [0]), country("A", "Asia", 2, 10, [60]), country("C", "Asia", 2, 2, [60, 90]),
    ])  # fmt: skip
    assert (asia.continent, asia.countries, asia.airports, asia.mean_km) == ("Asia", 2, 4, 3.0)
    assert (asia.farthest, asia.farthest_km, asia.time_zones) == ("A", 10, 2)
    assert (europe.continent, europe.faulty) == ("Europe", 1)


# -- the proof, which must not hold when something is wrong

COUNTRIES = {"XX": [airport("AAAA"), airport("BBBB")]}
RUN_OF = {"XX": "r"}
STEPS = [("find-largest", ""), *((name, icao) for icao in ("AAAA", "BBBB") for name in PER_AIRPORT), ("aggregate", "")]


def history(steps: list[tuple[str, str]]) -> list[Event]:
    return [
        Event(
            event_id=f"r:{seq}", run_id="r", seq=seq, event_type="step_completed", step_id=f"{icao}/{name}", name=name,
            payload={"result": {"icao": icao} if icao else "AAAA"}, created_at=AT,
        )
        for seq, (name, icao) in enumerate(steps, start=1)
    ]  # fmt: skip


def ran(steps: list[tuple[str, str]]) -> list[StepOf]:
    return [StepOf("r", f"{icao}/{name}") for name, icao in steps]


def test_the_proof_holds_when_each_step_is_recorded_once_and_only_what_was_under_way_ran_again():
    proof = prove(COUNTRIES, RUN_OF, {"r": history(STEPS)}, {"r": 3}, ran(STEPS[:4]), ran(STEPS[3:]))
    assert proof.holds
    assert (proof.steps_recorded, proof.recorded_before_kill, proof.bodies_run, proof.run_again) == (6, 3, 7, 1)
    assert len(STEPS) == len(PER_AIRPORT) * 2 + len(ONCE)


@pytest.mark.parametrize(
    ("steps", "before", "after", "told"),
    [
        (STEPS[:-1], STEPS[:3], STEPS[3:], "aggregate  is not recorded"),
        ([*STEPS, STEPS[1]], STEPS[:3], STEPS[3:], "validate AAAA is recorded 2 times"),
        ([*STEPS, ("validate", "CCCC")], STEPS[:3], [*STEPS[3:], ("validate", "CCCC")], "should not be"),
        (STEPS, STEPS[:3], STEPS[2:], "ran again after it"),
        (STEPS, STEPS[:3], STEPS[4:], "its body never ran"),
    ],
)
def test_the_proof_names_what_does_not_hold(
    steps: list[tuple[str, str]], before: list[tuple[str, str]], after: list[tuple[str, str]], told: str
):
    proof = prove(COUNTRIES, RUN_OF, {"r": history(steps)}, {"r": 3}, ran(before), ran(after))
    assert not proof.holds
    assert any(told in failure for failure in proof.failures), proof.failures


def test_a_torn_line_of_the_journal_does_not_count():
    assert read_journal("r\ta\nr\tb\nr\tc") == [StepOf("r", "a"), StepOf("r", "b")]


# -- the whole


def test_the_demo_proves_its_point_on_the_airports_of_the_world(tmp_path: Path):
    shell = Shell(tmp_path)
    done = shell.run("demo", "--data", "kept", "--json")
    assert done.code == 0, done.err
    result = done.json
    assert result["runs"] > 200
    assert result["airports"] > 28_000
    proof = result["proof"]
    assert proof["failures"] == []
    assert proof["stepsRecorded"] == result["steps"] == 2 * result["airports"] + 2 * result["runs"]
    assert 0 < proof["recordedBeforeKill"] < result["steps"]
    assert proof["recordedAndRunAgain"] == 0
    assert proof["bodiesRun"] >= result["steps"]
    assert sum(continent["airports"] for continent in result["continents"]) == result["airports"]
    assert f"worker {result['killedPid']} is killed" in done.err
    listed = shell.run("runs", "list", "--status", "completed", "--limit", "500", "--store", result["store"], "--json").json
    assert len(listed["items"]) == result["runs"]


def test_a_demo_that_is_stopped_leaves_no_worker_behind(tmp_path: Path):
    with Shell(tmp_path).start("demo") as demo:
        pid = int(demo.until("is started").split()[1])
        demo.send(signal.SIGINT)
        done = demo.done()
    assert done.code == 130
    assert "goes on with" in done.err
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
