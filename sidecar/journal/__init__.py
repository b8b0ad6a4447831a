"""Records on disk before the answer; identity and epochs."""

from sidecar.journal.directory import DataDirectory
from sidecar.journal.epoch import EpochView
from sidecar.journal.journal import Journal
from sidecar.journal.problems import Problem, ProblemKind, ProblemLog
from sidecar.journal.record import START, Position, StoredRecord
from sidecar.journal.settings import JournalSettings

__all__ = [
    "START",
    "DataDirectory",
    "EpochView",
    "Journal",
    "JournalSettings",
    "Position",
    "Problem",
    "ProblemKind",
    "ProblemLog",
    "StoredRecord",
]
