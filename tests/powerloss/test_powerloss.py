"""Promise 1: what was acknowledged survives a power loss at any moment. And: the proof itself would notice if it did not."""

import shutil
import sys
from pathlib import Path
from random import Random

import pytest

from tests.powerloss import bare
from tests.powerloss.proof import SHORT, record_lives, sweep_lives
from tests.powerloss.rebuild import SECTOR, Disk, Entry, Kind
from tests.powerloss.sweep import Sweep, compile_library, record

needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="the log is a preloaded library, built with cc on Linux"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_library(tmp_path_factory.mktemp("library"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "watched"
    root.mkdir()
    return root


def _sweep_bare(library: Path, root: Path, *arguments: str, lies: bool = False) -> Sweep:
    log = root.parent / "log"
    record(library, root, log, bare.__name__, *arguments)
    return Sweep(log, root, bare.DATABASE, bare.read, torn=1, lies=lies)


@needs_compiler
def test_a_bare_database_keeps_what_it_acknowledged_and_the_log_has_seen_every_byte(library: Path, root: Path) -> None:
    sweep = _sweep_bare(library, root, "FULL")
    report = sweep.run()
    assert report.losses == []
    assert report.states > 1000
    assert report.acknowledged > 100
    assert report.checkpoints > 5
    assert sweep.last_image() == {name: (root / name).read_bytes() for name in ("bare.db", "bare.db-wal")}


@needs_compiler
@pytest.mark.parametrize("arguments", [("OFF",), ("NORMAL",), ("FULL", "ack-early")])
def test_a_database_that_acknowledges_what_it_has_not_synced_is_caught(
    library: Path, root: Path, arguments: tuple[str, ...]
) -> None:
    report = _sweep_bare(library, root, *arguments).run()
    assert any("acknowledged" in loss for loss in report.losses)


@needs_compiler
def test_a_disk_that_lies_about_sync_is_caught(library: Path, root: Path) -> None:
    report = _sweep_bare(library, root, "FULL", lies=True).run()
    assert any("acknowledged" in loss for loss in report.losses)


class _Played:
    """A disk that is written to by hand."""

    def __init__(self) -> None:
        self.disk = Disk("/w")
        self._position = 0

    def do(self, kind: Kind, path: str = "/w/a", *, offset: int | None = None, body: bytes = b"") -> int:
        """Apply one entry and return its position. A sync without ``offset`` covers all before it."""
        self._position += 100
        begun = self._position if kind in (Kind.SYNC, Kind.SYNC_FOLDER) else 0
        self.disk.apply(Entry(self._position, kind, path, 7, begun if offset is None else offset, body))
        return self._position


def test_a_synced_file_without_a_synced_name_may_be_gone() -> None:
    played = _Played()
    played.do(Kind.CREATE)
    played.do(Kind.WRITE, body=b"x")
    played.do(Kind.SYNC)
    assert played.disk.synced() == {}
    assert played.disk.everything() == {"a": b"x"}
    played.do(Kind.SYNC_FOLDER, "/w")
    assert played.disk.synced() == {"a": b"x"}


def test_a_file_in_a_folder_without_a_synced_name_may_be_gone() -> None:
    played = _Played()
    played.do(Kind.MKDIR, "/w/sub")
    played.do(Kind.CREATE, "/w/sub/a")
    played.do(Kind.SYNC_FOLDER, "/w/sub")
    assert played.disk.synced() == {}
    played.do(Kind.SYNC_FOLDER, "/w")
    assert played.disk.synced() == {"sub/a": b""}


def test_a_removed_name_may_come_back_until_its_folder_is_synced() -> None:
    played = _Played()
    played.do(Kind.CREATE)
    played.do(Kind.SYNC_FOLDER, "/w")
    played.do(Kind.REMOVE)
    assert (played.disk.synced(), played.disk.everything()) == ({"a": b""}, {})
    played.do(Kind.SYNC_FOLDER, "/w")
    assert played.disk.synced() == {}


def test_a_sync_covers_what_was_written_before_it_began_and_nothing_later() -> None:
    played = _Played()
    played.do(Kind.CREATE)
    played.do(Kind.SYNC_FOLDER, "/w")
    played.do(Kind.WRITE, body=b"before")
    begun = played.do(Kind.WRITE, offset=3, body=b"AFTER")
    played.do(Kind.SYNC, offset=begun)
    assert played.disk.synced() == {"a": b"before"}
    assert played.disk.everything() == {"a": b"befAFTER"}


def test_torn_sectors_are_whole_and_each_old_or_new() -> None:
    played = _Played()
    played.do(Kind.CREATE)
    played.do(Kind.SYNC_FOLDER, "/w")
    played.do(Kind.WRITE, body=b"o" * 2 * SECTOR)
    played.do(Kind.SYNC)
    played.do(Kind.WRITE, body=b"n" * 2 * SECTOR)
    random = Random(1)
    seen = {played.disk.torn(random)["a"] for _ in range(200)}
    assert seen == {first * SECTOR + second * SECTOR for first in (b"o", b"n") for second in (b"o", b"n")}


def test_a_cut_file_has_either_size_and_reads_zeros_where_it_grew_again() -> None:
    played = _Played()
    played.do(Kind.CREATE)
    played.do(Kind.SYNC_FOLDER, "/w")
    played.do(Kind.WRITE, body=b"o" * 1000)
    played.do(Kind.SYNC)
    played.do(Kind.TRUNCATE, offset=600)
    random = Random(1)
    assert {played.disk.torn(random)["a"][:600] for _ in range(50)} == {b"o" * 600}
    assert {len(played.disk.torn(random)["a"]) for _ in range(50)} == {600, 1000}
    played.do(Kind.TRUNCATE, offset=1000)
    played.do(Kind.SYNC)
    assert played.disk.synced() == {"a": b"o" * 600 + bytes(400)}


def test_a_cut_takes_all_that_it_cuts_off_or_nothing() -> None:
    played = _Played()
    played.do(Kind.CREATE)
    played.do(Kind.SYNC_FOLDER, "/w")
    played.do(Kind.WRITE, body=b"o" * 3 * SECTOR)
    played.do(Kind.SYNC)
    played.do(Kind.TRUNCATE, offset=0)
    random = Random(1)
    assert {played.disk.torn(random)["a"] for _ in range(100)} == {b"o" * 3 * SECTOR, b""}


@pytest.fixture(scope="module")
def lives(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of three lives of a real engine, and what they left."""
    scratch = tmp_path_factory.mktemp("lives").resolve()
    record_lives(SHORT, library, scratch)
    return scratch


@needs_compiler
def test_promise_1_and_2_nothing_acknowledged_is_lost_and_nothing_recorded_runs_again_after_a_power_loss(lives: Path) -> None:
    sweep = sweep_lives(SHORT, lives)
    report = sweep.run()
    print(report)
    assert report.losses == []
    assert report.states >= 5000
    assert report.audits >= 10
    assert report.checkpoints >= 5
    watched = lives / "watched"
    left = {str(file.relative_to(watched)): file.read_bytes() for file in watched.rglob("*") if file.is_file()}
    assert sweep.last_image() == {name: content for name, content in left.items() if name not in ("ACK", "KILL")}


@needs_compiler
def test_an_engine_on_a_disk_that_lies_about_sync_is_caught(lives: Path) -> None:
    report = sweep_lives(SHORT, lives, lies=True).run()
    assert any("acknowledged" in loss for loss in report.losses)
