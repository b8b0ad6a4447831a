"""The epochs of which this sidecar keeps records, numbered in the order they began."""

from __future__ import annotations

from collections.abc import Iterable
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
    """Gives each epoch a small number, so that positions compare quickly."""

    def __init__(self) -> None:
        self._indexes: dict[EpochId, int] = {}
        self._epochs: list[EpochId] = []

    def index(self, epoch: EpochId) -> int:
        """Return the epoch's index; a new epoch gets the next."""
        index = self._indexes.get(epoch)
        if index is None:
            index = self._indexes[epoch] = len(self._epochs)
            self._epochs.append(epoch)
        return index

    def epoch(self, index: int) -> EpochId:
        """Return the epoch with the index."""
        return self._epochs[index]

    def included(self, marks: Iterable[RecordMark]) -> dict[int, int]:
        """Return marks by epoch index; marks of epochs not kept here say nothing."""
        found = {}
        for mark in marks:
            index = self._indexes.get(EpochId(mark.sidecar_id, mark.epoch))
            if index is not None:
                found[index] = mark.number
        return found
