"""The durable mark: the last record known to be on the disk itself.

SQLite cannot tell a log that was cut off from one that ended there. Whatever the mark names was
once synced, so a journal that ends before it has lost records, and says so.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Final

_FILE: Final = "durable-mark"
_MARK: Final = struct.Struct(">32sqI")


class DurableMark:
    """A mark in a file of its own, overwritten in place."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.epoch, self.number = self._read()

    def advance(self, epoch: str, number: int) -> None:
        """Name the last record that is durable."""
        name = epoch.encode("ascii")
        data = _MARK.pack(name, number, _checksum(name, number))
        os.pwrite(self._fd, data, 0)
        self.epoch, self.number = epoch, number

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _read(self) -> tuple[str, int]:
        data = os.pread(self._fd, _MARK.size, 0)
        if len(data) < _MARK.size:
            return "", 0
        name, number, checksum = _MARK.unpack(data)
        # A mark that a power loss tore says nothing; the journal itself is verified anyway.
        return (name.decode("ascii"), number) if checksum == _checksum(name, number) else ("", 0)


def _checksum(name: bytes, number: int) -> int:
    return zlib.crc32(b"%s %d" % (name, number))
