"""Usage that could not be applied: what there is, and settling it once it can be.

It is settled anew, like a report, under a key of its own: a replay that is cut short and begun
again counts nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, delete, func, select

from control_plane.metering.records import KeyScope, SetAsideReason, UsageEntry, UsageKind
from control_plane.metering.reporting import Reporter
from control_plane.storage.database import Database
from control_plane.storage.tables import usage_set_aside
from weighbridge.rules.errors import InvalidArgumentError

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000
PER_REPLAY: Final = 500

# What can be otherwise by now. A record that is broken or a key of other usage stays what it is.
REPLAYABLE: Final = frozenset(
    {
        SetAsideReason.CUSTOMER_UNKNOWN,
        SetAsideReason.RESOURCE_UNKNOWN,
        SetAsideReason.FEATURE_UNKNOWN,
        SetAsideReason.FEATURE_NOT_METERED,
        SetAsideReason.IN_THE_FUTURE,
    }
)


class KeptUsage(NamedTuple):
    """Usage that was set aside, with the record that it came in."""

    id: int
    reason: SetAsideReason
    sidecar_id: str
    epoch: str
    number: int
    received_at_ms: int
    payload: str

    @property
    def is_replayable(self) -> bool:
        return self.reason in REPLAYABLE

    def entry(self) -> UsageEntry:
        """Return the usage, to be settled anew."""
        told: dict[str, Any] = json.loads(self.payload)
        is_fleetwide = bool(told["key"]) and told["key_scope"] == KeyScope.FLEET.value
        return UsageEntry(
            told["customer"],
            told["resource"],
            told["feature"],
            told["amount"],
            told["occurred_at_ms"],
            UsageKind(told["kind"]),
            calls=told["calls"],
            # Its own, where whoever used it may use it again anywhere.
            key=told["key"] if is_fleetwide else f"~set-aside {self.id}",
            key_scope=KeyScope.FLEET,
            payload_digest=bytes.fromhex(told["payload_digest"]) if is_fleetwide else _DIGEST,
            dimensions=tuple(sorted(told["dimensions"].items())),
            catalog_version=told["catalog_version"],
            snapshot_version=told["snapshot_version"],
            spent=tuple((feature, micros) for feature, micros in told.get("spent", ())),
        )


_DIGEST: Final = b"replayed"


class Replayed(NamedTuple):
    """How much was settled anew, and how much of that was set aside again."""

    usages: int
    again: int


def list_set_aside(
    connection: Connection, reason: str, page_size: int, after: int
) -> list[KeptUsage]:
    """Return a page, oldest first, with ids above `after`. Raises InvalidArgumentError."""
    if not 0 <= page_size <= PAGE_SIZE_MAX:
        raise InvalidArgumentError("page_size", f"{page_size} is not 0 to {PAGE_SIZE_MAX}")
    query = select(usage_set_aside).where(usage_set_aside.c.id > after)
    if reason:
        query = query.where(usage_set_aside.c.reason == require_reason(reason).value)
    limit = page_size or PAGE_SIZE_DEFAULT
    rows = connection.execute(query.order_by(usage_set_aside.c.id).limit(limit))
    return [_kept(row) for row in rows]


def require_reason(reason: str) -> SetAsideReason:
    """Return a reason by its name. Raises InvalidArgumentError naming those there are."""
    try:
        return SetAsideReason(reason)
    except ValueError:
        names = ", ".join(each.value for each in SetAsideReason)
        raise InvalidArgumentError("reason", f"{reason!r} is none of {names}") from None


async def replay_set_aside(
    database: Database, reporter: Reporter, ids: Sequence[int], reason: str
) -> Replayed:
    """Settle what was set aside and can be replayed, those with the ids or all.

    Raises InvalidArgumentError for an id that is not there, or is for a person.
    """
    wanted = require_reason(reason) if reason else None
    last: int = await database.read(_last)
    await database.read(lambda connection: _require(connection, ids))
    after = count = 0
    while True:
        page = await database.read(lambda c, after=after: _page(c, ids, wanted, (after, last)))  # type: ignore[misc]
        if not page:
            break
        await reporter.report([kept.entry() for kept in page])
        await database.write(lambda c, page=page: _drop(c, page))  # type: ignore[misc]
        count += len(page)
        after = page[-1].id
    again = await database.read(lambda connection: _count_after(connection, last))
    return Replayed(count, min(again, count))


def _page(
    connection: Connection,
    ids: Sequence[int],
    reason: SetAsideReason | None,
    between: tuple[int, int],
) -> list[KeptUsage]:
    table = usage_set_aside.c
    reasons = REPLAYABLE if reason is None else REPLAYABLE & {reason}
    query = select(usage_set_aside).where(
        table.id > between[0],
        table.id <= between[1],
        table.reason.in_([each.value for each in reasons]),
    )
    if ids:
        query = query.where(table.id.in_(ids))
    rows = connection.execute(query.order_by(table.id).limit(PER_REPLAY))
    return [_kept(row) for row in rows]


def _require(connection: Connection, ids: Sequence[int]) -> None:
    if len(ids) > PAGE_SIZE_MAX:
        raise InvalidArgumentError("ids", f"are {len(ids)}; at most {PAGE_SIZE_MAX}")
    table = usage_set_aside.c
    found = select(table.id, table.reason).where(table.id.in_(list(ids)))
    known = {row.id: SetAsideReason(row.reason) for row in connection.execute(found)}
    for id_ in ids:
        if id_ not in known:
            raise InvalidArgumentError("ids", f"{id_} is not set aside")
        if known[id_] not in REPLAYABLE:
            problem = f"{id_} is {known[id_].value}, which no replay mends; look at its payload"
            raise InvalidArgumentError("ids", problem)


def _last(connection: Connection) -> int:
    return connection.scalar(select(func.max(usage_set_aside.c.id))) or 0


def _count_after(connection: Connection, last: int) -> int:
    query = select(func.count()).select_from(usage_set_aside)
    return connection.scalar(query.where(usage_set_aside.c.id > last)) or 0


def _drop(connection: Connection, page: Sequence[KeptUsage]) -> None:
    ids = [kept.id for kept in page]
    connection.execute(delete(usage_set_aside).where(usage_set_aside.c.id.in_(ids)))


def _kept(row: Row[Any]) -> KeptUsage:
    return KeptUsage(
        row.id,
        SetAsideReason(row.reason),
        row.sidecar_id,
        row.epoch,
        row.number,
        row.received_at_ms,
        row.payload.decode(),
    )
