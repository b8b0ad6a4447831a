"""What was found damaged or went wrong on disk: logged, counted, and kept to be looked at."""

from __future__ import annotations

from collections import Counter, deque
from enum import Enum
from typing import Final, NamedTuple

from weighbridge.runtime.logs import get_logger

_KEPT_MAX: Final = 100


class ProblemKind(Enum):
    """What is wrong."""

    CORRUPT_IDENTITY = "corrupt_identity"
    CORRUPT_FILE = "corrupt_file"
    CORRUPT_RECORD = "corrupt_record"
    # The last write is incomplete: a kill or a power loss in mid-write, or damage to it.
    TORN_TAIL = "torn_tail"
    # Records that were on disk are not there any more.
    LOST_RECORDS = "lost_records"
    CORRUPT_SNAPSHOT = "corrupt_snapshot"
    WRITE_FAILED = "write_failed"
    UPKEEP_FAILED = "upkeep_failed"


LOSING: Final = (
    ProblemKind.CORRUPT_IDENTITY,
    ProblemKind.CORRUPT_FILE,
    ProblemKind.CORRUPT_RECORD,
    ProblemKind.LOST_RECORDS,
)
"""Problems after which records may be missing."""


class Problem(NamedTuple):
    """One thing that is wrong, and what was done about it."""

    kind: ProblemKind
    detail: str


class ProblemLog:
    """The last problems, and how many of each kind there were since the start."""

    def __init__(self, part: str) -> None:
        self._log = get_logger(part)
        self._kept: deque[Problem] = deque(maxlen=_KEPT_MAX)
        self.counts: Counter[ProblemKind] = Counter()

    def report(self, kind: ProblemKind, detail: str) -> None:
        """Log and keep a problem; the same one again is counted, not logged again."""
        problem = Problem(kind, detail)
        self.counts[kind] += 1
        if problem not in self._kept:
            self._log.error(kind.value.replace("_", " "), detail=detail)
            self._kept.append(problem)

    def last(self) -> tuple[Problem, ...]:
        """Return the last distinct problems, oldest first."""
        return tuple(self._kept)
