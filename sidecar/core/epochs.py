"""Marks: how far the control plane has settled the records of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple


class EpochId(NamedTuple):
    """One start of a sidecar."""

    sidecar_id: str
    epoch: str


class RecordMark(NamedTuple):
    """Every record of an epoch up to and including a number."""

    sidecar_id: str
    epoch: str
    number: int


class EpochIndexes:
    """Finds the small number by which positions name an epoch. `known` lists them all, in order."""

    def __init__(self, known: Callable[[], Iterable[tuple[EpochId, int]]]) -> None:
        self._known = known
        self._indexes: dict[EpochId, int] = {}

    def included(self, marks: Iterable[RecordMark]) -> dict[int, int]:
        """Return marks by epoch index; marks of epochs not kept here say nothing."""
        found = {}
        for mark in marks:
            index = self._index(EpochId(mark.sidecar_id, mark.epoch))
            if index is not None:
                found[index] = mark.number
        return found

    def _index(self, epoch: EpochId) -> int | None:
        if epoch not in self._indexes:
            self._indexes = dict(self._known())
        return self._indexes.get(epoch)
