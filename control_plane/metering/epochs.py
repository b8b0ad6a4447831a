"""Epochs of sidecars: who may speak for one, and how far the records of each are settled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from sqlalchemy import Connection, func, insert, select, update

from control_plane.metering.records import EpochKey, RecordMark
from control_plane.storage.rows import rows_by_key, update_rows
from control_plane.storage.tables import usage_epoch

_NUMBER: Final = list(usage_epoch.columns).index(usage_epoch.c.number)

_OUT_OF_LINE: Final = "~"
"""Begins the predecessor of an epoch that takes no place in the line of starts. No id has it."""


@dataclass(frozen=True, slots=True)
class EpochClaim:
    """What a sidecar says of itself in its hello. `named` are all epochs it keeps records of."""

    sidecar_id: str
    epoch: str
    predecessor: str
    boot_id: str
    named: tuple[EpochKey, ...]

    @property
    def epochs(self) -> tuple[EpochKey, ...]:
        """Return every epoch named, the sidecar's own included."""
        return tuple(dict.fromkeys((*self.named, EpochKey(self.sidecar_id, self.epoch))))


@dataclass(frozen=True, slots=True)
class EpochRefused:
    """Why a sidecar cannot go on under its id: its data directory was copied."""

    detail: str


def has_epochs(connection: Connection) -> bool:
    """Return whether any sidecar was ever connected."""
    return connection.execute(select(usage_epoch.c.sidecar_id).limit(1)).first() is not None


def register_epoch(
    connection: Connection, claim: EpochClaim, now_ms: int
) -> tuple[RecordMark, ...] | EpochRefused:
    """Take in a hello: return what is settled of each epoch it names, or why it is refused.

    A data directory that was copied shows in one of two ways. Two epochs name one predecessor: the
    second is refused. Or both copies started again without being connected, so that their
    predecessors differ: then the epoch that said hello earlier is refused when it comes back, since
    a sound sidecar never returns to an epoch after it began the next.

    The records of a refused epoch are still taken under their own (sidecar, epoch, number).
    """
    table = usage_epoch.c
    own = (table.sidecar_id == claim.sidecar_id) & (table.epoch == claim.epoch)
    known = connection.execute(select(usage_epoch).where(own)).one_or_none()
    if known is None:
        refused = _register_new(connection, claim, now_ms)
    elif known.predecessor.startswith(_OUT_OF_LINE):
        refused = _refusal(claim, "it was refused before")
    else:
        refused = _superseded(connection, claim, known.created_at_ms)
        connection.execute(update(usage_epoch).where(own).values(seen_at_ms=now_ms))
    return refused or settled_marks(connection, claim.epochs)


def _register_new(connection: Connection, claim: EpochClaim, now_ms: int) -> EpochRefused | None:
    table = usage_epoch.c
    sibling = connection.execute(
        select(table.epoch).where(
            table.sidecar_id == claim.sidecar_id, table.predecessor == claim.predecessor
        )
    ).scalar_one_or_none()
    last_ms = connection.execute(
        select(func.max(table.created_at_ms)).where(table.sidecar_id == claim.sidecar_id)
    ).scalar_one()
    # Later than its elder ones even where this clock was stepped back: the order decides above.
    created_at_ms = now_ms if last_ms is None else max(now_ms, last_ms + 1)
    connection.execute(
        insert(usage_epoch).values(
            sidecar_id=claim.sidecar_id,
            epoch=claim.epoch,
            predecessor=claim.predecessor if sibling is None else _out_of_line(claim.epoch),
            boot_id=claim.boot_id,
            number=0,
            created_at_ms=created_at_ms,
            seen_at_ms=now_ms,
        )
    )
    if sibling is None:
        return None
    before = f"epoch {claim.predecessor}" if claim.predecessor else "the first start"
    return _refusal(claim, f"epoch {sibling} already follows {before}")


def _superseded(
    connection: Connection, claim: EpochClaim, created_at_ms: int
) -> EpochRefused | None:
    table = usage_epoch.c
    later = connection.execute(
        select(table.epoch)
        .where(
            table.sidecar_id == claim.sidecar_id,
            table.created_at_ms > created_at_ms,
            ~table.predecessor.startswith(_OUT_OF_LINE, autoescape=True),
        )
        .limit(1)
    ).scalar_one_or_none()
    return None if later is None else _refusal(claim, f"epoch {later} has begun since")


def _refusal(claim: EpochClaim, why: str) -> EpochRefused:
    return EpochRefused(
        f"sidecar {claim.sidecar_id}, epoch {claim.epoch}: {why}, so the data directory was "
        "copied; take a new sidecar id and say hello again, records keep their numbers"
    )


def settled_marks(connection: Connection, epochs: Iterable[EpochKey]) -> tuple[RecordMark, ...]:
    """Return the mark of each epoch, in that order; 0 of one that sent nothing."""
    wanted = list(epochs)
    numbers = _numbers(connection, wanted)
    return tuple(RecordMark(*key, numbers.get(key, 0)) for key in wanted)


def _numbers(connection: Connection, epochs: Iterable[EpochKey]) -> dict[EpochKey, int]:
    found = rows_by_key(connection, usage_epoch, ("sidecar_id", "epoch"), epochs)
    return {EpochKey(row[0], row[1]): row[_NUMBER] for row in found}


def open_marks(
    connection: Connection, epochs: Iterable[EpochKey], now_ms: int
) -> dict[EpochKey, int]:
    """Return the marks of epochs whose records are to be settled now.

    An epoch that never said hello here (it was refused, or ran while this side was away) gets its
    row now, but no place in the line of starts.
    """
    wanted = set(epochs)
    marks = _numbers(connection, wanted)
    missing = [key for key in wanted if key not in marks]
    if missing:
        connection.execute(insert(usage_epoch), [_unannounced(key, now_ms) for key in missing])
    return {key: marks.get(key, 0) for key in wanted}


def _out_of_line(epoch: str) -> str:
    # A digest, since the column is no longer than an id.
    return _OUT_OF_LINE + blake2b(epoch.encode(), digest_size=16).hexdigest()


def _unannounced(key: EpochKey, now_ms: int) -> dict[str, object]:
    return {
        "sidecar_id": key.sidecar_id,
        "epoch": key.epoch,
        "predecessor": _out_of_line(key.epoch),
        "boot_id": "",
        "number": 0,
        "created_at_ms": now_ms,
        "seen_at_ms": now_ms,
    }


def move_marks(connection: Connection, marks: Iterable[RecordMark], now_ms: int) -> None:
    """Set the marks of epochs to the last record settled."""
    rows = ((mark.number, now_ms, mark.sidecar_id, mark.epoch) for mark in marks)
    columns = ("number", "seen_at_ms")
    update_rows(connection, usage_epoch, columns, ("sidecar_id", "epoch"), rows)
