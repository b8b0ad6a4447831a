"""Looks into a write-ahead log before SQLite does.

SQLite ends a log at the first frame that does not verify and says nothing of what follows. Here a
log that a killed process left is told from one that was damaged. Format: sqlite.org/walformat.html.
"""

from __future__ import annotations

import array
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

_MAGIC_LITTLE: Final = 0x377F0682
_MAGIC_BIG: Final = 0x377F0683
_HEADER: Final = struct.Struct(">IIIIIIII")
_FRAME: Final = struct.Struct(">IIIIII")
_COVERED: Final = 24
_COVERED_OF_FRAME: Final = 8
_WORD_MASK: Final = 0xFFFFFFFF

Checksum = tuple[int, int]


class LogState(NamedTuple):
    """What a write-ahead log holds.

    `sound_bytes`: up to the end of its last sound frame. `damaged_frames`: frames of the same
    log from the first that does not verify. A kill in mid-write leaves at most one such, the last.
    """

    sound_bytes: int
    damaged_frames: int
    is_header_damaged: bool

    @property
    def is_damaged(self) -> bool:
        """Whether more is wrong than a write that was cut off."""
        return self.is_header_damaged or self.damaged_frames > 1

    @property
    def is_torn(self) -> bool:
        """Whether the last write is incomplete or damaged."""
        return self.damaged_frames == 1 and not self.is_header_damaged


class _Layout(NamedTuple):
    page_bytes: int
    is_little: bool
    salts: tuple[int, int]

    @property
    def frame_bytes(self) -> int:
        return _FRAME.size + self.page_bytes


SOUND: Final = LogState(0, 0, is_header_damaged=False)


def inspect_log(path: Path) -> LogState:
    """Verify every frame. A log that does not exist or was never begun is sound."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return SOUND
    with file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            # Killed while the log was begun: no frame was written.
            return SOUND
        read = _read_header(head)
        if read is None:
            return LogState(0, 0, is_header_damaged=True)
        layout, checksum = read
        return _inspect_frames(file, layout, checksum)


def _read_header(head: bytes) -> tuple[_Layout, Checksum] | None:
    magic, _, page_bytes, _, salt_1, salt_2, sum_1, sum_2 = _HEADER.unpack(head)
    is_little = magic == _MAGIC_LITTLE
    if not is_little and magic != _MAGIC_BIG:
        return None
    checksum = _extend((0, 0), head[:_COVERED], is_little=is_little)
    if checksum != (sum_1, sum_2):
        return None
    return _Layout(page_bytes, is_little, (salt_1, salt_2)), checksum


def _inspect_frames(file: BinaryIO, layout: _Layout, checksum: Checksum) -> LogState:
    sound = 0
    damaged = 0
    for frame in _frames(file, layout):
        # Frames with other salts are left from before the log was begun anew.
        if _FRAME.unpack_from(frame)[2:4] != layout.salts:
            # Unless the salts themselves are what is damaged: look on for more of this log.
            following = sum(1 for later in _frames(file, layout) if _is_of(later, layout))
            damaged += following and following + 1
            break
        if damaged == 0:
            extended = _extend_by_frame(checksum, frame, layout)
            if len(frame) == layout.frame_bytes and extended == _FRAME.unpack_from(frame)[4:6]:
                checksum = extended
                sound += 1
                continue
        damaged += 1
    sound_bytes = _HEADER.size + sound * layout.frame_bytes
    return LogState(sound_bytes, damaged, is_header_damaged=False)


def _is_of(frame: bytes, layout: _Layout) -> bool:
    return _FRAME.unpack_from(frame)[2:4] == layout.salts


def _frames(file: BinaryIO, layout: _Layout) -> Iterator[bytes]:
    """Yield frames; the last may be short, but has its head."""
    while len(frame := file.read(layout.frame_bytes)) >= _FRAME.size:
        yield frame


def _extend_by_frame(checksum: Checksum, frame: bytes, layout: _Layout) -> Checksum:
    covered = frame[:_COVERED_OF_FRAME] + frame[_FRAME.size :]
    if len(covered) % 8:
        return checksum
    return _extend(checksum, covered, is_little=layout.is_little)


def _extend(checksum: Checksum, data: bytes, *, is_little: bool) -> Checksum:
    words = array.array("I", data)
    if is_little != (sys.byteorder == "little"):
        words.byteswap()
    sum_1, sum_2 = checksum
    pairs = iter(words)
    for word in pairs:
        sum_1 = (sum_1 + word + sum_2) & _WORD_MASK
        sum_2 = (sum_2 + next(pairs) + sum_1) & _WORD_MASK
    return sum_1, sum_2
