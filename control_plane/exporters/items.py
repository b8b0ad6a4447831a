"""What is exported, and what becomes of it, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from weighbridge.rules.matching import Match


class ItemState(Enum):
    """How far an item has come."""

    PENDING = "pending"
    SENT = "sent"
    # The other side will not have it: a person has to look.
    REFUSED = "refused"
    # Whether it arrived is not known, and sending it again could count twice.
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Item:
    """Usage of one meter by one customer in one window; `identifier` never changes.

    `external` is what the customer is called there, "" where the exporter needs no name.
    """

    id: int
    identifier: str
    meter: str
    customer: str
    resource: str
    dimensions: Match
    window_start_ms: int
    window_end_ms: int
    quantity: int
    state: ItemState
    batch: int
    attempts: int
    first_tried_at_ms: int | None
    external: str = ""
    error: str = ""


class Outcome(NamedTuple):
    """What became of an item; `retry_after_s` where the other side said when."""

    state: ItemState
    error: str = ""
    retry_after_s: float | None = None


SENT = Outcome(ItemState.SENT)


class Target(Protocol):
    """Where items go. Called on a thread; raises nothing that it can tell as an outcome."""

    system: str
    """Whose names of customers it needs, "" where ours will do."""
    takes_negative: bool
    """Whether an adjustment below zero can be sent."""
    window_of_doubt_ms: int | None
    """How long a second sending of an identifier counts once; None: for ever."""

    def send(self, items: Sequence[Item]) -> Mapping[int, Outcome]:
        """Send a batch; return what became of each item by its id."""
        ...

    def close(self) -> None:
        """Let connections go."""
        ...
