"""Releases: the grants that plans and add-ons come with, made when they are due, each once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sqlalchemy import Connection

from control_plane.crediting.book import OWN_KEY_MARK, Book, open_book
from control_plane.crediting.granting import DAY_MS, NewGrant, create_grant
from control_plane.crediting.rows import LedgerId
from weighbridge.rules.catalog import Catalog, Customer, CustomerStatus, Subscription
from weighbridge.rules.credits import MICRO_MAX, CreditGrant, GrantEnd, GrantKind, grants_bought
from weighbridge.rules.errors import FailedPreconditionError
from weighbridge.rules.ledger import Rollover
from weighbridge.rules.lifecycle import plan_at
from weighbridge.rules.window import WindowBounds, window_bounds
from weighbridge.runtime.logs import get_logger

_log = get_logger("crediting")


class Source(NamedTuple):
    """A grant that a subscription comes with, and what brings it: `plan pro`, `add-on pack`."""

    subscription: Subscription
    owner: str
    grant: CreditGrant

    @property
    def note(self) -> str:
        """Say for people what the credits are."""
        return f"{self.owner}, grant {self.grant.id}"[:256]

    def digest(self, *rest: object) -> str:
        """Return a name of fixed length: ids alone may be longer than a key."""
        told = (self.subscription.resource, self.owner, self.grant.id, *rest)
        return hashlib.sha256(repr(told).encode()).hexdigest()[:40]


class Released(NamedTuple):
    """How many grants were made, and when a customer is to be looked at again (None: never)."""

    grants: int
    next_at_ms: int | None


def release_grants(
    connection: Connection, catalog: Catalog, customer: Customer, now_ms: int
) -> Released:
    """Make the grants that a customer's subscriptions have now and that were not made before.

    One that comes again is made once for each of its periods, for the running one at the latest;
    one that comes once is made once for the customer or resource, whatever becomes of the
    subscription. What would have expired by now is not made.
    """
    if customer.status is not CustomerStatus.ACTIVE:
        return Released(0, None)
    made = 0
    sources = list(_sources(catalog, customer.subscriptions, now_ms))
    for credit_type in sorted({source.grant.credit_type for source in sources}):
        due = [source for source in sources if source.grant.credit_type == credit_type]
        with open_book(connection, LedgerId(customer.id, credit_type), now_ms) as book:
            made += sum(_release(book, source) for source in due)
    changes = [*_changes(catalog, customer.subscriptions, now_ms)]
    changes += [end for source in sources if (end := _period(source, now_ms).end_ms) is not None]
    return Released(made, min((each for each in changes if each > now_ms), default=None))


def _sources(
    catalog: Catalog, subscriptions: Iterable[Subscription], now_ms: int
) -> Iterator[Source]:
    for subscription in subscriptions:
        if not subscription.is_active(now_ms):
            continue
        plan = plan_at(catalog, subscription, now_ms).plan
        if plan is not None:
            for grant in grants_bought(plan.credit_grants, (), subscription.quantity):
                yield Source(subscription, f"plan {plan.plan}", grant)
        for bought in subscription.add_ons:
            add_on = catalog.add_ons.get(bought.add_on)
            if add_on is not None:
                for grant in grants_bought((), [(add_on.credit_grants, bought.quantity)], 1):
                    yield Source(subscription, f"add-on {add_on.id}", grant)


def _changes(catalog: Catalog, subscriptions: Iterable[Subscription], now_ms: int) -> Iterator[int]:
    """Yield instants at which a customer may come to have other grants."""
    for subscription in subscriptions:
        yield subscription.starts_at_ms
        if subscription.status_until_ms is not None:
            yield subscription.status_until_ms
        moves_at_ms = plan_at(catalog, subscription, now_ms).changes_at_ms
        if moves_at_ms is not None:
            yield moves_at_ms


def _period(source: Source, now_ms: int) -> WindowBounds:
    if source.grant.every is None:
        return WindowBounds(0, None)
    return window_bounds(source.grant.every, now_ms, source.subscription.anchor_ms)


def _release(book: Book, source: Source) -> bool:
    """Make one grant, unless it was made before."""
    grant, subscription = source.grant, source.subscription
    period = _period(source, book.now_ms)
    key = f"{OWN_KEY_MARK}release/{source.digest(book.ledger.credit_type, period.start_ms)}"
    is_of_trial = grant.kind is GrantKind.TRIAL or grant.expiry.end is GrantEnd.TRIAL_END
    if not grant.micro or (is_of_trial and not subscription.is_trial) or book.has(key):
        return False
    starts_at_ms = max(period.start_ms, subscription.starts_at_ms)
    effective_at_ms = starts_at_ms + grant.starts_after_days * DAY_MS
    expires_at_ms = _expires_at_ms(source, effective_at_ms, period)
    if expires_at_ms is not None and expires_at_ms <= max(effective_at_ms, book.now_ms):
        return False
    new = NewGrant(
        key=key,
        kind=grant.kind,
        amount=min(grant.micro, MICRO_MAX),
        effective_at_ms=effective_at_ms,
        expires_at_ms=expires_at_ms,
        priority=grant.priority,
        rollover=_rollover(source, book.ledger, period),
        note=source.note,
    )
    try:
        create_grant(book, new)
    except FailedPreconditionError as error:
        # One ledger that is full must not keep everybody else from theirs.
        _log.error("grant not released", ledger=str(book.ledger), error=str(error))
        return False
    return True


def _expires_at_ms(source: Source, effective_at_ms: int, period: WindowBounds) -> int | None:
    expiry = source.grant.expiry
    match expiry.end:
        case GrantEnd.NEVER:
            return None
        case GrantEnd.PERIOD_END:
            return period.end_ms
        case GrantEnd.TRIAL_END:
            return source.subscription.ends_at_ms
        case GrantEnd.AFTER_DAYS:
            return effective_at_ms + expiry.days * DAY_MS


def _rollover(source: Source, ledger: LedgerId, period: WindowBounds) -> Rollover | None:
    cap = source.grant.rollover_micro
    if cap is None or period.end_ms is None:
        return None
    series = f"release/{source.digest(ledger.credit_type)}"
    return Rollover(series, min(cap, MICRO_MAX), period.end_ms)
