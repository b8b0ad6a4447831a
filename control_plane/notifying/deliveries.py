"""Deliveries: claimed by one control plane at a time, tried until taken, then dead letters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, func, select, update

from control_plane.notifying.messages import GIVE_UP_AFTER_MS
from control_plane.storage.webhook_tables import (
    webhook_delivery,
    webhook_endpoint,
    webhook_message,
)

QUEUE_MAX: Final = 100_000
"""Messages that wait for one endpoint; what is older than that many is a dead letter."""

RETENTION_MS: Final = 30 * 24 * 3_600_000
PRUNED_PER_PAGE: Final = 1_000
ERROR_LENGTH_MAX: Final = 256
DOUBLINGS_MAX: Final = 32


class DeliveryState(Enum):
    """What became of a message at an endpoint."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class RetryTerms:
    """How long to wait between tries: twice as long each time, up to `backoff_ms_max`."""

    backoff_ms_min: int = 5_000
    backoff_ms_max: int = 3_600_000

    def backoff_ms(self, attempts: int, random: Random) -> int:
        """Return how long to wait after so many tries: half of it, and up to as much again."""
        doubled = self.backoff_ms_min * 2 ** min(max(attempts - 1, 0), DOUBLINGS_MAX)
        most = min(doubled, self.backoff_ms_max)
        return random.randint(most // 2, most)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is this control plane's to make, for a time. Signed with each secret."""

    endpoint: str
    message: str
    url: str
    secrets: tuple[str, ...] = field(repr=False)
    body: str = field(repr=False)
    attempts: int


class Outcome(NamedTuple):
    """What an endpoint answered: no status where it did not. `retry_after_ms`: it asked for it."""

    claimed: Claimed
    status_code: int | None
    error: str = ""
    retry_after_ms: int = 0

    @property
    def is_delivered(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code < 300  # noqa: PLR2004

    @property
    def is_gone(self) -> bool:
        """Whether the endpoint said that it is there no more."""
        return self.status_code == 410  # noqa: PLR2004 (Gone)


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims, and for how long: a claim that is not settled by then is anybody's."""

    id: str
    claim_ms: int


def has_due(connection: Connection, full: Collection[str], now_ms: int) -> bool:
    """Whether anything waits to be sent that nobody sends, but for endpoints that are `full`."""
    table, endpoint = webhook_delivery.c, webhook_endpoint.c
    query = select(endpoint.id).where(
        endpoint.is_paused.is_(False),
        endpoint.id.not_in(full),
        exists().where(table.endpoint_id == endpoint.id, *_is_due(now_ms)),
    )
    return connection.execute(query.limit(1)).one_or_none() is not None


def claim(
    connection: Connection, claimant: Claimant, slots: int, busy: Mapping[str, int], now_ms: int
) -> list[Claimed]:
    """Claim what is due, of each endpoint as much as `slots` lets be on its way with `busy`."""
    claimed: list[Claimed] = []
    endpoints = connection.execute(
        select(webhook_endpoint).where(webhook_endpoint.c.is_paused.is_(False))
    ).all()
    for endpoint in endpoints:
        room = slots - busy.get(endpoint.id, 0)
        if room > 0:
            claimed += _claim_of(connection, claimant, endpoint, room, now_ms)
    return claimed


def _claim_of(
    connection: Connection, claimant: Claimant, endpoint: Row[Any], room: int, now_ms: int
) -> list[Claimed]:
    table, message = webhook_delivery.c, webhook_message.c
    rows = connection.execute(
        select(table.message_id, table.attempts, message.body)
        .join_from(webhook_delivery, webhook_message, message.id == table.message_id)
        .where(table.endpoint_id == endpoint.id, *_is_due(now_ms))
        .order_by(table.next_at_ms, table.message_id)
        .limit(room)
    ).all()
    if not rows:
        return []
    connection.execute(
        update(webhook_delivery)
        .where(
            table.endpoint_id == endpoint.id,
            table.message_id.in_([row.message_id for row in rows]),
        )
        .values(claimed_by=claimant.id, claimed_until_ms=now_ms + claimant.claim_ms)
    )
    secrets: tuple[str, ...] = (endpoint.secret,)
    if endpoint.former_secret is not None and (endpoint.former_until_ms or 0) > now_ms:
        secrets = (*secrets, endpoint.former_secret)
    return [
        Claimed(endpoint.id, row.message_id, endpoint.url, secrets, row.body, row.attempts)
        for row in rows
    ]


def settle(
    connection: Connection,
    claimant: Claimant,
    outcomes: Iterable[tuple[Outcome, int]],
    now_ms: int,
) -> dict[DeliveryState, int]:
    """Take in what endpoints answered, each with how long to wait; count what became of them.

    Delivered is delivered, whoever's claim it is by now. A failure counts only for who still has
    the claim. An endpoint that is gone is paused.
    """
    counts = dict.fromkeys(DeliveryState, 0)
    for outcome, backoff_ms in outcomes:
        state = _settle_one(connection, claimant, outcome, backoff_ms, now_ms)
        counts[state] += 1
    return counts


def _settle_one(
    connection: Connection, claimant: Claimant, outcome: Outcome, backoff_ms: int, now_ms: int
) -> DeliveryState:
    claimed, table = outcome.claimed, webhook_delivery.c
    is_it = and_(
        table.endpoint_id == claimed.endpoint,
        table.message_id == claimed.message,
        table.state == DeliveryState.PENDING.value,
    )
    values: dict[str, Any] = {
        "attempts": claimed.attempts + 1,
        "status_code": outcome.status_code,
        "error": outcome.error[:ERROR_LENGTH_MAX],
        "claimed_by": "",
        "claimed_until_ms": 0,
    }
    if outcome.is_delivered:
        values |= {"state": DeliveryState.DELIVERED.value, "ended_at_ms": now_ms}
        connection.execute(update(webhook_delivery).where(is_it).values(**values))
        return DeliveryState.DELIVERED
    is_own = and_(is_it, table.claimed_by == claimant.id)
    give_up_at_ms = connection.execute(select(table.give_up_at_ms).where(is_own)).scalar()
    if give_up_at_ms is None:
        return DeliveryState.PENDING
    next_at_ms = now_ms + max(backoff_ms, outcome.retry_after_ms)
    state = DeliveryState.PENDING
    if outcome.is_gone or next_at_ms > give_up_at_ms:
        state = DeliveryState.DEAD
        values |= {"state": state.value, "ended_at_ms": now_ms}
    else:
        values["next_at_ms"] = next_at_ms
    connection.execute(update(webhook_delivery).where(is_own).values(**values))
    if outcome.is_gone:
        _pause(connection, claimed.endpoint)
    return state


def _pause(connection: Connection, endpoint: str) -> None:
    table = webhook_endpoint
    connection.execute(update(table).where(table.c.id == endpoint).values(is_paused=True))


def shed(connection: Connection, now_ms: int, queue_max: int = QUEUE_MAX) -> int:
    """Make dead letters of the oldest messages of queues that are too long; return how many."""
    table = webhook_delivery.c
    is_pending = table.state == DeliveryState.PENDING.value
    counts = connection.execute(
        select(table.endpoint_id, func.count())
        .where(is_pending)
        .group_by(table.endpoint_id)
        .having(func.count() > queue_max)
    ).all()
    shed_in_all = 0
    for endpoint, count in counts:
        oldest = connection.scalars(
            select(table.message_id)
            .where(table.endpoint_id == endpoint, is_pending, table.claimed_until_ms <= now_ms)
            .order_by(table.created_at_ms, table.message_id)
            .limit(min(count - queue_max, PRUNED_PER_PAGE))
        ).all()
        shed_in_all += connection.execute(
            update(webhook_delivery)
            .where(table.endpoint_id == endpoint, table.message_id.in_(oldest))
            .values(state="dead", error="the endpoint's queue was full", ended_at_ms=now_ms)
        ).rowcount
    return shed_in_all


def replay(
    connection: Connection, endpoint: str, message: str, now_ms: int, *, limit: int = 10_000
) -> int:
    """Send again: one message, whatever became of it; or every dead letter (""). Return the count.

    The messages keep their ids.
    """
    table = webhook_delivery.c
    query = select(table.message_id).where(table.endpoint_id == endpoint)
    if message:
        query = query.where(table.message_id == message, table.state != DeliveryState.PENDING.value)
    else:
        query = query.where(table.state == DeliveryState.DEAD.value)
    ids = connection.scalars(query.order_by(table.created_at_ms).limit(limit)).all()
    for first in range(0, len(ids), PRUNED_PER_PAGE):
        chunk = ids[first : first + PRUNED_PER_PAGE]
        connection.execute(
            update(webhook_delivery)
            .where(table.endpoint_id == endpoint, table.message_id.in_(chunk))
            .values(
                state=DeliveryState.PENDING.value,
                attempts=0,
                next_at_ms=now_ms,
                give_up_at_ms=now_ms + GIVE_UP_AFTER_MS,
                ended_at_ms=None,
            )
        )
    return len(ids)


def prune_messages(connection: Connection, now_ms: int) -> int:
    """Remove a page of messages that are old and wait for nobody; return how many went."""
    message, table = webhook_message.c, webhook_delivery.c
    is_waiting = exists().where(
        table.message_id == message.id, table.state == DeliveryState.PENDING.value
    )
    old = connection.scalars(
        select(message.id)
        .where(message.created_at_ms <= now_ms - RETENTION_MS, ~is_waiting)
        .order_by(message.created_at_ms)
        .limit(PRUNED_PER_PAGE)
    ).all()
    if not old:
        return 0
    connection.execute(delete(webhook_delivery).where(table.message_id.in_(old)))
    return connection.execute(delete(webhook_message).where(message.id.in_(old))).rowcount


def oldest_pending_ms(connection: Connection) -> tuple[int, int | None]:
    """Return how many deliveries wait, and since when the oldest does."""
    table = webhook_delivery.c
    query = select(func.count(), func.min(table.created_at_ms)).where(table.state == "pending")
    count, oldest_ms = connection.execute(query).one()
    return count, oldest_ms


def _is_due(now_ms: int) -> Sequence[ColumnElement[bool]]:
    table = webhook_delivery.c
    return (
        table.state == DeliveryState.PENDING.value,
        table.next_at_ms <= now_ms,
        table.claimed_until_ms <= now_ms,
    )
