"""How much the journal holds, how long, and what a power loss may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from weighbridge.rules.errors import InvalidArgumentError

_BYTES_MIN: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings:
    """The journal's settings. Raises InvalidArgumentError for one that cannot be."""

    bytes_max: int = 1 << 30
    """Room for records, on disk. The write-ahead log comes on top: see `write_ahead_bytes`."""
    fsync_interval_ms: int = 100
    """How much acknowledged usage a power loss may cost. 0: every append is on the disk itself
    before it returns. A kill of the process costs nothing in either case."""
    keep_settled_ms: int = 24 * 3_600_000
    """How long records are kept after the control plane settled them, to send them again to a
    database restored from a backup. Less where room runs out: see `keep_answers_ms`."""
    keep_answers_ms: int = 15 * 60_000
    """Once three quarters of the room are taken, settled records go early, the oldest first, but
    never before this: the answers to idempotency keys are read from them."""
    write_ahead_bytes: int = 16 << 20
    """Length of the write-ahead log from which it is moved into the database. It may be four times
    as long while appends never pause; at eight times, appends are refused until the disk is
    through."""

    @property
    def write_ahead_bytes_max(self) -> int:
        """Length of the write-ahead log at which appends are refused."""
        return 8 * self.write_ahead_bytes

    @property
    def synchronous(self) -> str:
        """What SQLite syncs by itself; the upkeep thread does the rest."""
        return "NORMAL" if self.fsync_interval_ms else "FULL"

    def __post_init__(self) -> None:
        if self.bytes_max < _BYTES_MIN:
            raise InvalidArgumentError(
                "journal_bytes_max", f"{self.bytes_max} is too small; at least {_BYTES_MIN}"
            )
        for name in ("fsync_interval_ms", "keep_settled_ms", "keep_answers_ms"):
            if getattr(self, name) < 0:
                raise InvalidArgumentError(name, f"{getattr(self, name)} is negative")
        if self.write_ahead_bytes < _BYTES_MIN:
            raise InvalidArgumentError(
                "write_ahead_bytes",
                f"{self.write_ahead_bytes} is too small; at least {_BYTES_MIN}",
            )
