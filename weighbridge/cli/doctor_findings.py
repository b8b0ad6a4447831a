"""What a check of `weighbridge doctor` says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum

from weighbridge.cli.json_shapes import JsonObject


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what was seen, and what to do where it is not well."""

    level: Level
    check: str
    seen: str
    advice: str = ""

    def to_json(self) -> JsonObject:
        """Return the documented shape."""
        return {**asdict(self), "level": self.level.value, "advice": self.advice or None}


def ok(check: str, seen: str) -> Finding:
    return Finding(Level.OK, check, seen)


def warn(check: str, seen: str, advice: str) -> Finding:
    return Finding(Level.WARN, check, seen, advice)


def fail(check: str, seen: str, advice: str) -> Finding:
    return Finding(Level.FAIL, check, seen, advice)
