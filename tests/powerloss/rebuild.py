"""The log of ``disklog.c``, and from it the files as a disk may hold them when the power goes.

It knows nothing of databases. The disk it models keeps all that was synced, and of the rest whatever it likes: each sector of
512 bytes as it was after any one of the writes to it, the file's size as it was after any one of the calls that changed it, each
name likewise. Names are durable only once their folder was synced. A sector is written
whole or not at all, and a disk that says "synced" means it.
"""

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from random import Random
from typing import Final, NamedTuple, TypeAlias

SECTOR: Final = 512
_HEAD = struct.Struct("<IIQQQ")


class Kind(IntEnum):
    """What was done. The numbers are those of ``disklog.c``."""

    CREATE = 1
    MKDIR = 2
    WRITE = 3
    TRUNCATE = 4
    SYNC = 5
    SYNC_FOLDER = 6
    REMOVE = 7
    RENAME = 8
    ACK = 9
    UNSEEN = 10


class Entry(NamedTuple):
    """One entry of the log. ``position`` is where it begins there; for a sync ``offset`` is where the log ended as it began."""

    position: int
    kind: Kind
    path: str
    inode: int
    offset: int
    body: bytes


class UnseenWriteError(Exception):
    """The process changed a file by a call that the log cannot follow: nothing can be proved from it."""


def read_log(path: Path) -> Iterator[Entry]:
    """Walk the entries. One that was cut off at the end of the log is left out."""
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            position = file.tell() - _HEAD.size
            kind, path_bytes, inode, offset, size = _HEAD.unpack(head)
            name = os.fsdecode(file.read(path_bytes))
            body = file.read(size)
            if len(body) < size:
                return
            if kind == Kind.UNSEEN:
                raise UnseenWriteError(f"{body.decode()} on {name}")
            yield Entry(position, Kind(kind), name, inode, offset, body)


class Version(NamedTuple):
    """A sector after one change. ``is_cut``: the change cut the file off here, and so came with the file's size."""

    position: int
    content: bytes
    is_cut: bool


@dataclass(slots=True)
class File:
    """One file: what is safe on the disk, what a reader sees now, and all in between, each with its log position."""

    durable: bytearray = field(default_factory=bytearray)
    current: bytearray = field(default_factory=bytearray)
    sectors: dict[int, list[Version]] = field(default_factory=dict[int, list[Version]])
    sizes: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def write(self, position: int, offset: int, body: bytes) -> None:
        end = offset + len(body)
        if end > len(self.current):
            self._resize(position, end)
        self.current[offset:end] = body
        self._keep_versions(position, offset, end, is_cut=False)

    def truncate(self, position: int, size: int) -> None:
        before = len(self.current)
        self._resize(position, size)
        # What was cut off reads as zeros if the file grows again.
        self._keep_versions(position, size, before, is_cut=True)

    def _resize(self, position: int, size: int) -> None:
        del self.current[size:]
        self.current.extend(bytes(size - len(self.current)))
        self.sizes.append((position, size))

    def _keep_versions(self, position: int, start: int, end: int, *, is_cut: bool) -> None:
        for sector in range(start // SECTOR, -(-end // SECTOR)):
            content = bytes(self.current[sector * SECTOR : (sector + 1) * SECTOR]).ljust(SECTOR, b"\0")
            self.sectors.setdefault(sector, []).append(Version(position, content, is_cut))

    def sync(self, begun: int) -> None:
        """Make durable what was done before the log position ``begun``."""
        self.durable = self._as_of(begun - 1)
        self.sizes = [entry for entry in self.sizes if entry[0] >= begun]
        later = ((sector, [v for v in versions if v.position >= begun]) for sector, versions in self.sectors.items())
        self.sectors = {sector: versions for sector, versions in later if versions}

    def until(self, position: int) -> bytes:
        """Return the content if everything up to a log position reached the disk, and nothing later."""
        return bytes(self._as_of(position))

    def _as_of(self, position: int) -> bytearray:
        size = max((entry for entry in self.sizes if entry[0] <= position), default=(0, len(self.durable)))[1]
        chosen: dict[int, bytes] = {}
        for sector, versions in self.sectors.items():
            for version in versions:
                if version.position <= position:
                    chosen[sector] = version.content
        return _assemble(self.durable, size, chosen)

    @property
    def is_pending(self) -> bool:
        return bool(self.sectors or self.sizes)

    @property
    def moments(self) -> list[int]:
        """The log positions at which it was changed since the last sync."""
        moments = {at for at, _ in self.sizes}
        for versions in self.sectors.values():
            moments.update(version.position for version in versions)
        return sorted(moments)

    def torn(self, random: Random) -> bytes:
        """Return the content if any sectors reached the disk, each in any of its versions, and the size in any of its own."""
        newest = random.choice((0.02, 0.2, 0.5, 0.8, 0.98))
        sized_at, size = random.choice([(-1, len(self.durable)), *self.sizes])
        chosen: dict[int, bytes] = {}
        for sector, versions in self.sectors.items():
            possible = _possible(versions, sized_at)
            version = possible[-1] if random.random() < newest else random.choice(possible)
            if version is not None:
                chosen[sector] = version.content
        # A file that grew before its data was written shows what the disk held there before: zeros at best.
        filler = random.randbytes(SECTOR) if random.random() < 0.3 else None
        return bytes(_assemble(self.durable, size, chosen, filler))


def _possible(versions: list[Version], sized_at: int) -> list[Version | None]:
    """Return the versions that a sector can have if the file's size is that of a log position; None is the durable one.

    A cut frees all that it cuts off at once: what was there before is gone with it, and what came after came after it.
    """
    possible: list[Version | None] = [None]
    for version in versions:
        if version.is_cut and version.position > sized_at:
            break
        if version.is_cut:
            possible.clear()
        possible.append(version)
    return possible


def _assemble(durable: bytearray, size: int, chosen: dict[int, bytes], filler: bytes | None = None) -> bytearray:
    content = bytearray(durable[:size])
    grown = size - len(content)
    content.extend(bytes(grown) if filler is None else (filler * (grown // SECTOR + 1))[:grown])
    for sector, body in chosen.items():
        start = sector * SECTOR
        if start < size:
            content[start : start + SECTOR] = body[: size - start]
    return content


class _Folder:
    """What a name of a folder stands for."""


FOLDER: Final = _Folder()
_Target: TypeAlias = File | _Folder | None
Image: TypeAlias = dict[str, bytes]
"""Files as they are found after the power came back: path below the watched folder -> content."""


@dataclass(slots=True)
class _Name:
    """What a path stands for: on the disk for sure, and in each version since."""

    durable: _Target = None
    later: list[tuple[int, _Target]] = field(default_factory=list[tuple[int, _Target]])

    @property
    def current(self) -> _Target:
        return self.later[-1][1] if self.later else self.durable


class Disk:
    """The watched folder at one position of the log; ``apply`` goes on by one entry.

    ``synced_version`` and ``version`` rise whenever ``synced()`` and ``everything()`` may have changed.

    Args:
        root: The watched folder, empty when the log began. It is durable itself.
        lies: Syncs promise nothing: a disk against which nothing can be kept. A checker must notice.
    """

    def __init__(self, root: str, *, lies: bool = False) -> None:
        self.synced_version = 0
        self.version = 0
        self._root = root
        self._lies = lies
        self._names: dict[str, _Name] = {}
        self._files: dict[int, File] = {}

    def apply(self, entry: Entry) -> None:
        at, target = entry.position, self._files.get(entry.inode)
        match entry.kind:
            case Kind.CREATE:
                self._files[entry.inode] = created = File()
                self._put(at, entry.path, created)
            case Kind.MKDIR:
                self._put(at, entry.path, FOLDER)
            case Kind.REMOVE:
                self._put(at, entry.path, None)
            case Kind.RENAME:
                self._put(at, os.fsdecode(entry.body), self._names[entry.path].current)
                self._put(at, entry.path, None)
            case Kind.WRITE | Kind.TRUNCATE | Kind.SYNC if target is None:
                raise UnseenWriteError(f"{entry.kind.name} on a file that was there before the log began")
            case Kind.WRITE if target is not None:
                target.write(at, entry.offset, entry.body)
            case Kind.TRUNCATE if target is not None:
                target.truncate(at, entry.offset)
            case Kind.SYNC if target is not None and not self._lies:
                target.sync(entry.offset)
            case Kind.SYNC_FOLDER if not self._lies:
                self._sync_folder(entry.path, entry.offset)
            case _:
                pass
        self.version += entry.kind not in (Kind.ACK, Kind.SYNC, Kind.SYNC_FOLDER)
        self.synced_version += entry.kind in (Kind.SYNC, Kind.SYNC_FOLDER)

    def _put(self, position: int, path: str, target: _Target) -> None:
        self._names.setdefault(path, _Name()).later.append((position, target))

    def _sync_folder(self, folder: str, begun: int) -> None:
        for path, name in self._names.items():
            if os.path.dirname(path) == folder:
                for position, target in name.later:
                    if position < begun:
                        name.durable = target
                name.later = [entry for entry in name.later if entry[0] >= begun]

    def synced(self) -> Image:
        """Return what is there if nothing reached the disk that was not synced."""
        return self._image({path: name.durable for path, name in self._names.items()}, lambda file: bytes(file.durable))

    def everything(self) -> Image:
        """Return what is there if all that was written reached the disk: what the process itself saw."""
        return self._image({path: name.current for path, name in self._names.items()}, lambda file: bytes(file.current))

    def is_pending(self) -> bool:
        """Whether anything was not synced."""
        names = self._names.values()
        return any(name.later or (isinstance(name.current, File) and name.current.is_pending) for name in names)

    def torn(self, random: Random) -> Image:
        """Return one of the many things that may be there: each file torn, or cut off at a moment of its own."""
        targets: dict[str, _Target] = {}
        for path, name in self._names.items():
            targets[path] = random.choice([name.durable, *(target for _, target in name.later)])
        if random.random() < 0.75:
            return self._image(targets, lambda file: file.torn(random))
        return self._image(targets, lambda file: file.until(random.choice([0, *file.moments])))

    def _image(self, targets: dict[str, _Target], content: Callable[[File], bytes]) -> Image:
        image: Image = {}
        for path, target in targets.items():
            # SQLite's shared memory is built anew: what it held, of which the log has seen only a part, never matters.
            if isinstance(target, File) and not path.endswith("-shm") and self._is_reachable(path, targets):
                image[path.removeprefix(self._root).lstrip("/")] = content(target)
        return image

    def _is_reachable(self, path: str, targets: dict[str, _Target]) -> bool:
        while (path := os.path.dirname(path)) != self._root:
            if targets.get(path) is not FOLDER:
                return False
        return True
