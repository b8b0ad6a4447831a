"""A record as the journal stores it: opaque bytes with an identity and a checksum."""

from __future__ import annotations

import struct
import zlib
from typing import Final, NamedTuple

_HEAD: Final = struct.Struct(">qq")

Position = tuple[int, int]
"""The index of an epoch among those kept, and a record's number in it: `core.usage.Position`."""

START: Final[Position] = (0, 0)


class StoredRecord(NamedTuple):
    """A record read back; its checksum was verified.

    `is_lost`: the number was given, but the record is gone (damage, or pruned before a restored
    database asked for it again). It has no payload; an empty record sent in its place lets the
    control plane, which takes numbers without gaps, go on to the next.
    """

    sidecar_id: str
    epoch: str
    epoch_index: int
    number: int
    digest: bytes
    payload: bytes
    written_at_ms: int
    is_settled: bool
    is_lost: bool


class Row(NamedTuple):
    """A row of the table of records, as it is bound and read; unverified until `is_sound`."""

    sequence: int
    written_at_ms: int
    checksum: int
    digest: bytes
    payload: bytes


_ROW_TYPES: Final = [int, int, int, bytes, bytes]


def epoch_seed(sidecar_id: str, epoch: str) -> int:
    """Return what the checksums of an epoch's records begin with."""
    return zlib.crc32(f"{sidecar_id}\n{epoch}".encode())


def record_checksum(
    seed: int, number: int, written_at_ms: int, digest: bytes, payload: bytes
) -> int:
    """Return the checksum of a record; it covers the identity too, so no row can pass for another.

    CRC-32 finds what disks and kernels do; it is no protection from people, who own the disk.
    """
    head = zlib.crc32(digest, zlib.crc32(_HEAD.pack(number, written_at_ms), seed))
    return zlib.crc32(payload, head)


def is_sound(row: Row, seed: int, number: int) -> bool:
    """Whether a row is as it was written, as this record of this epoch."""
    # A damaged row may hold values of any type.
    if [type(value) for value in row] != _ROW_TYPES:
        return False
    found = record_checksum(seed, number, row.written_at_ms, row.digest, row.payload)
    return found == row.checksum
