"""Runs a workload under the log, plays a power loss at each position of it, and looks whether anything acknowledged is lost."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TypeAlias

import apsw
import msgspec

from tests.powerloss.facts import DamagedError, Facts
from tests.powerloss.rebuild import Disk, Image, Kind, read_log

HERE = Path(__file__).parent

Read: TypeAlias = Callable[[apsw.Connection], Facts]
"""Returns all facts that a database holds; raises ``DamagedError`` if they contradict each other."""
Audit: TypeAlias = Callable[[Path], list[str]]
"""Looks closely at a folder that was found after a power loss, and may write to it; returns what is wrong."""


@dataclass(kw_only=True)
class Report:
    """What a sweep saw."""

    positions: int = 0
    states: int = 0
    """Disk contents that differ from all others."""
    checks: int = 0
    """Disk contents held against what was acknowledged by then: more than ``states``, as one content can outlive several."""
    audits: int = 0
    acknowledged: int = 0
    checkpoints: int = 0
    """How often the database's own file was synced."""
    losses: list[str] = field(default_factory=list[str])
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.states} states at {self.positions} positions, {self.acknowledged} acknowledged facts, {self.checks} checks, "
            f"{self.audits} audits, {self.checkpoints} checkpoints, {len(self.losses)} losses, {self.seconds:.1f} s"
        )


def compile_library(folder: Path) -> Path:
    """Build ``disklog.c`` into a folder and return the library."""
    library = folder / "disklog.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "disklog.c")], check=True)
    return library


def record(library: Path, folder: Path, log: Path, module: str, *arguments: str) -> None:
    """Run a workload (``python -m MODULE FOLDER ...``) under the log until it kills itself.

    Raises:
        subprocess.CalledProcessError: It ended in any other way.
    """
    environment = os.environ | {
        "LD_PRELOAD": str(library),
        "STEPWELL_DISKLOG_DIR": str(folder),
        "STEPWELL_DISKLOG_FILE": str(log),
    }
    command = [sys.executable, "-m", module, str(folder), *arguments]
    ended = subprocess.run(command, env=environment, cwd=HERE.parent.parent, check=False)
    if ended.returncode != -signal.SIGKILL:
        raise subprocess.CalledProcessError(ended.returncode, command)


class Sweep:
    """One walk along a log.

    Args:
        log: What ``record`` wrote.
        root: The folder that was watched.
        database: The database's path below it.
        read: See ``Read``.
        torn: How many random disk contents to try at each position, besides the two that are certain.
        audit: See ``Audit``; called for each ``audit_every``-th state.
        lies: Play a disk that loses what it called synced. Losses must be found.
        losses_max: Stop after so many.
    """

    def __init__(
        self,
        log: Path,
        root: Path,
        database: str,
        read: Read,
        *,
        torn: int = 3,
        seed: int = 1,
        audit: Audit | None = None,
        audit_every: int = 100,
        lies: bool = False,
        losses_max: int = 10,
    ) -> None:
        self.report = Report()
        self._log = log
        self._database = database
        self._read = read
        self._torn = torn
        self._random = Random(seed)
        self._audit = audit
        self._audit_every = audit_every
        self._losses_max = losses_max
        self._disk = Disk(str(root), lies=lies)
        self._acknowledged: dict[str, str] = {}
        self._checked: dict[bytes, int] = {}
        """For each digest of a disk's content how much was acknowledged when it was last checked."""
        self._versions: dict[str, tuple[int, int]] = {}

    def run(self) -> Report:
        """Walk to the end of the log, or to the first few losses."""
        started = time.monotonic()
        report = self.report
        with TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as scratch:
            for entry in read_log(self._log):
                self._disk.apply(entry)
                if entry.kind is Kind.ACK:
                    self._acknowledged |= msgspec.json.decode(entry.body, type=dict[str, str])
                report.positions += 1
                report.checkpoints += entry.kind is Kind.SYNC and entry.path.endswith(self._database)
                self._check_position(entry.position, Path(scratch))
                if len(report.losses) >= self._losses_max:
                    break
        report.acknowledged = len(self._acknowledged)
        report.seconds = time.monotonic() - started
        return report

    def last_image(self) -> Image:
        """Return what the process itself saw at the end."""
        return self._disk.everything()

    def _check_position(self, position: int, scratch: Path) -> None:
        disk = self._disk
        if self._is_new("synced", disk.synced_version):
            self._check(f"{position} synced only", disk.synced(), scratch)
        if disk.is_pending():
            if self._is_new("everything", disk.version):
                self._check(f"{position} everything", disk.everything(), scratch)
            for number in range(self._torn):
                self._check(f"{position} torn {number}", disk.torn(self._random), scratch)

    def _is_new(self, kind: str, version: int) -> bool:
        """Whether the content or what was acknowledged has changed since this was asked last: saves building it to find out."""
        now = version, len(self._acknowledged)
        is_new = self._versions.get(kind) != now
        self._versions[kind] = now
        return is_new

    def _check(self, place: str, image: Image, scratch: Path) -> None:
        report, digest = self.report, _digest(image)
        if self._checked.get(digest) == len(self._acknowledged):
            return
        is_first = digest not in self._checked
        self._checked[digest] = len(self._acknowledged)
        report.checks += 1
        report.states += is_first
        folder = scratch / "found"
        plant(image, folder)
        try:
            facts = self._read_folder(folder)
        except (DamagedError, apsw.Error) as error:
            report.losses.append(f"{place}: {type(error).__name__}: {error}")
            return
        lost = [name for name, value in self._acknowledged.items() if facts.get(name) != value]
        if lost:
            report.losses.append(f"{place}: {len(lost)} acknowledged facts, {lost[0]} first")
        elif self._audit is not None and is_first and report.states % self._audit_every == 0:
            plant(image, folder)
            report.audits += 1
            report.losses += [f"{place}: {problem}" for problem in self._audit(folder)]

    def _read_folder(self, folder: Path) -> Facts:
        if not (folder / self._database).exists():
            return {}
        connection = apsw.Connection(str(folder / self._database), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            # Alone with the file: no shared memory is needed, and closing need not tidy up.
            connection.pragma("locking_mode", "exclusive")
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            found = connection.pragma("integrity_check")
            if found != "ok":
                raise DamagedError(str(found)[:200])
            is_empty = connection.execute("SELECT count(*) FROM sqlite_master").get == 0
            return {} if is_empty else self._read(connection)
        finally:
            connection.close()


def plant(image: Image, folder: Path) -> None:
    """Make a folder hold these files and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path, content in image.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def _digest(image: Image) -> bytes:
    digest = hashlib.sha1(repr([(path, len(content)) for path, content in sorted(image.items())]).encode())
    for _, content in sorted(image.items()):
        digest.update(content)
    return digest.digest()
