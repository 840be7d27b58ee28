"""Frames into messages, and back. A message is a JSON array of frames; a frame that is too long for one travels in parts."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from stepwell.remote.frames import FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, Beat, Down, Part, Up

_PART_CHARACTERS: Final = 200_000
"""Quoted, a character takes at most four bytes: UTF-8 may need as many, and nothing in JSON text is escaped to more than two."""
_PACKED_BYTES: Final = MESSAGE_BYTES_MAX - 64 * 1024

_encode: Final = msgspec.json.Encoder().encode
_read_up: Final = msgspec.json.Decoder(list[Up]).decode
_read_one_up: Final = msgspec.json.Decoder(Up).decode
_read_down: Final = msgspec.json.Decoder(list[Down]).decode
_read_one_down: Final = msgspec.json.Decoder(Down).decode


class Joiner:
    """Puts frames together again that came in parts. One for each direction of a connection."""

    def __init__(self, bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._texts: list[str] = []
        self._size = 0

    def up(self, message: str) -> Iterator[Up]:
        """Yield what a worker said.

        Raises:
            ValueError: It is nothing that is said here.
        """
        for frame in _read_up(message):
            if not isinstance(frame, Part):
                if self._texts and not isinstance(frame, Beat):
                    raise ValueError("a frame between the parts of another")
                yield frame
            elif (whole := self._join(frame)) is not None:
                yield _read_one_up(whole)

    def down(self, message: str) -> Iterator[Down]:
        """Yield what a server said. Raises as ``up``."""
        for frame in _read_down(message):
            if not isinstance(frame, Part):
                yield frame
            elif (whole := self._join(frame)) is not None:
                yield _read_one_down(whole)

    def _join(self, part: Part) -> str | None:
        self._size += len(part.text)
        if self._size > self._bytes_max:
            raise ValueError(f"a frame of more than {self._bytes_max} characters")
        self._texts.append(part.text)
        if not part.last:
            return None
        whole, self._texts, self._size = "".join(self._texts), [], 0
        return whole


def encode(frame: Up | Down) -> bytes:
    """Return a frame's JSON."""
    return _encode(frame)


def pack(frames: Iterable[bytes]) -> Iterator[str]:
    """Yield messages that carry these encoded frames, in order."""
    batch: list[bytes] = []
    size = 0
    for frame in frames:
        if batch and size + len(frame) > _PACKED_BYTES:
            yield _message(batch)
            batch, size = [], 0
        if len(frame) > _PACKED_BYTES:
            yield from (_message([piece]) for piece in _parts(frame.decode()))
        else:
            batch.append(frame)
            size += len(frame) + 1
    if batch:
        yield _message(batch)


def _message(frames: Sequence[bytes]) -> str:
    return f"[{b','.join(frames).decode()}]"


def _parts(text: str) -> Iterator[bytes]:
    for start in range(0, len(text), _PART_CHARACTERS):
        end = start + _PART_CHARACTERS
        yield _encode(Part(text=text[start:end], last=end >= len(text)))
