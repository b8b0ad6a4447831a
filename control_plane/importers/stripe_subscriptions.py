"""Stripe's subscriptions and their payments: whoever tells last what happened latest is right.

Events come in any order. What they say of plan and end is ordered by when they were made, and in
one second created comes before updated before deleted. What they say of payment has an order of
its own, for invoices tell of it too, also before their subscription is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import insert, select, tuple_, update

from control_plane import provisioning
from control_plane.importers.events import EventState, Taken
from control_plane.importers.stripe_shapes import (
    Invoice,
    StripeEvent,
    StripeSubscription,
    read_shape,
)
from control_plane.importers.terms import Terms, terms_of
from control_plane.importers.work import (
    CUSTOMER_KEY,
    RESOURCE_KEY,
    STRIPE,
    Work,
    known_customer,
    provisioned_customer,
)
from control_plane.provisioning import WantedSubscription
from control_plane.provisioning.timeline import load_timeline
from control_plane.storage.import_tables import import_subscription
from weighbridge.rules.catalog import Subscription, SubscriptionStatus

DAY_MS: Final = 86_400_000
NEVER_MS: Final = -1

DELETED: Final = "customer.subscription.deleted"
RANKS: Final = {
    "customer.subscription.created": 0,
    "customer.subscription.updated": 1,
    DELETED: 2,
}
_OVER: Final = frozenset({"canceled", "incomplete_expired"})
_OVERDUE: Final = frozenset({"past_due", "unpaid"})
PAYMENT_FAILED: Final = "invoice.payment_failed"


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a subscription; customer "" while only its invoices came."""

    id: str
    customer: str = ""
    resource: str = ""
    began_at_ms: int = NEVER_MS
    terms_at_ms: int = NEVER_MS
    terms_rank: int = 0
    payment_at_ms: int = NEVER_MS
    past_due_until_ms: int | None = None
    is_ended: bool = False

    @property
    def owned(self) -> tuple[str, str]:
        return self.customer, self.resource


def apply_subscription(work: Work, event: StripeEvent) -> Taken:
    """Put the customer on what a subscription says, where that is the latest."""
    said = read_shape(StripeSubscription, event.data.object, "data.object")
    known = _load(work, said.id)
    order = (event.at_ms, RANKS[event.type])
    if order < (known.terms_at_ms, known.terms_rank):
        return _ignored("is older than what was applied of its subscription", known.customer)
    known = replace(
        _with_payment(work, known, said, event.at_ms),
        began_at_ms=said.created * 1_000,
        terms_at_ms=order[0],
        terms_rank=order[1],
        is_ended=event.type == DELETED or said.status in _OVER,
    )
    if said.status == "incomplete" and not known.is_ended:
        _save(work, known)
        return _ignored("waits for the first payment", known.customer)
    if known.is_ended:
        return _end(work, known, said)
    customer = provisioned_customer(work, said.customer, said.metadata.get(CUSTOMER_KEY, ""))
    known = replace(known, customer=customer, resource=said.metadata.get(RESOURCE_KEY, ""))
    _save(work, known)
    newer = _newer(work, known)
    if newer is not None:
        return _ignored(f"subscription {newer} is newer, and stands", customer)
    _put(work, known, said)
    return Taken(EventState.APPLIED, customer=customer)


def apply_invoice(work: Work, event: StripeEvent, invoice: Invoice) -> Taken:
    """Mark a subscription past due, or paid for again."""
    known = _load(work, invoice.subscription_id)
    if event.at_ms < known.payment_at_ms:
        return _ignored("is older than what is known of payments", known.customer)
    until_ms = None
    if event.type == PAYMENT_FAILED:
        until_ms = known.past_due_until_ms or event.at_ms + work.config.grace_ms
    known = replace(known, payment_at_ms=event.at_ms, past_due_until_ms=until_ms)
    _save(work, known)
    if not known.customer or known.is_ended or _newer(work, known) is not None:
        return _ignored("is noted; its subscription does not stand here", known.customer)
    current = load_timeline(work.connection, *known.owned, work.now_ms).current
    if current is not None and current.status is not SubscriptionStatus.PAUSED:
        _set_status(work, known, None)
    return Taken(EventState.APPLIED, customer=known.customer)


def _with_payment(work: Work, known: _Known, said: StripeSubscription, at_ms: int) -> _Known:
    """Return what its status says of payment, unless an invoice told later."""
    if at_ms < known.payment_at_ms:
        return known
    until_ms = None
    if said.status in _OVERDUE:
        grace_ms = 0 if said.status == "unpaid" else work.config.grace_ms
        until_ms = min(known.past_due_until_ms or at_ms + grace_ms, at_ms + grace_ms)
    return replace(known, payment_at_ms=at_ms, past_due_until_ms=until_ms)


def _end(work: Work, known: _Known, said: StripeSubscription) -> Taken:
    if not known.customer:
        name = said.metadata.get(CUSTOMER_KEY, "")
        customer = known_customer(work, name, stripe_id=said.customer)
        resource = said.metadata.get(RESOURCE_KEY, "")
        known = replace(known, customer=customer, resource=resource)
        _save(work, known)
        return _ignored("is over, and never was here", customer)
    _save(work, known)
    newer = _newer(work, known)
    if newer is not None:
        return _ignored(f"subscription {newer} is newer, and stands", known.customer)
    if load_timeline(work.connection, *known.owned, work.now_ms).current is None:
        return _ignored("is over already", known.customer)
    provisioning.cancel_subscription(work.connection, *known.owned, work.now_ms)
    return Taken(EventState.APPLIED, customer=known.customer)


def _put(work: Work, known: _Known, said: StripeSubscription) -> None:
    """Have the customer on the plan, until it ends, as it is paid."""
    terms = terms_of(work.config, said.items)
    timeline = load_timeline(work.connection, *known.owned, work.now_ms)
    ends_at_ms = None if said.ends_at is None else said.ends_at * 1_000
    wanted = _wanted(work, known, said, terms)
    trial_ms = _trial_end_ms(work, said)
    if trial_ms is not None:
        if not _is_tried(timeline.current, terms, trial_ms) or (
            ends_at_ms is None and not timeline.coming
        ):
            days = -(-(trial_ms - work.now_ms) // DAY_MS)
            wanted = replace(wanted, trial_days=days, trial_then=terms.plan)
            provisioning.set_subscription(work.connection, work.library, wanted, work.now_ms)
    elif not _is_on(timeline.current, wanted):
        provisioning.set_subscription(work.connection, work.library, wanted, work.now_ms)
    provisioning.set_subscription_end(work.connection, known.owned, ends_at_ms, work.now_ms)
    if load_timeline(work.connection, *known.owned, work.now_ms).current is not None:
        _set_status(work, known, said)


def _wanted(
    work: Work, known: _Known, said: StripeSubscription, terms: Terms
) -> WantedSubscription:
    anchor_ms = None
    if said.billing_cycle_anchor is not None and _trial_end_ms(work, said) is None:
        anchor_ms = said.billing_cycle_anchor * 1_000
    return WantedSubscription(
        customer=known.customer,
        plan=terms.plan,
        resource=known.resource,
        add_ons=terms.add_ons,
        # Windows that follow the subscription follow the one that is billed.
        anchor_ms=anchor_ms if anchor_ms is not None and anchor_ms <= work.now_ms else None,
        # Stripe says what is a trial, not the plan.
        trial_days=0,
        quantity=terms.seats,
    )


def _trial_end_ms(work: Work, said: StripeSubscription) -> int | None:
    if said.status != "trialing" or said.trial_end is None:
        return None
    return said.trial_end * 1_000 if said.trial_end * 1_000 > work.now_ms else None


def _is_tried(current: Subscription | None, terms: Terms, ends_at_ms: int) -> bool:
    """Whether the trial that stands is this one; it is as long to a day."""
    return (
        current is not None
        and current.is_trial
        and current.ends_at_ms is not None
        and abs(current.ends_at_ms - ends_at_ms) <= DAY_MS
        and (current.plan, current.add_ons, current.quantity) == terms
    )


def _is_on(current: Subscription | None, wanted: WantedSubscription) -> bool:
    return (
        current is not None
        and not current.is_trial
        and (current.plan, current.add_ons) == (wanted.plan, wanted.add_ons)
        and current.quantity == wanted.quantity
        and wanted.anchor_ms in {None, current.anchor_ms}
    )


def _set_status(work: Work, known: _Known, said: StripeSubscription | None) -> None:
    status, until_ms = SubscriptionStatus.ACTIVE, None
    if said is not None and said.status == "paused":
        status = SubscriptionStatus.PAUSED
    elif said is not None and said.pause_collection and said.pause_collection.behavior == "void":
        # The other behaviors serve, and collect later or never.
        resumes_at = said.pause_collection.resumes_at
        status, until_ms = SubscriptionStatus.PAUSED, resumes_at and resumes_at * 1_000
    elif known.past_due_until_ms is not None:
        status, until_ms = SubscriptionStatus.PAST_DUE, known.past_due_until_ms
    provisioning.set_subscription_status(
        work.connection, known.owned, status, until_ms, work.now_ms
    )


def _newer(work: Work, known: _Known) -> str | None:
    """Return the subscription of the same customer and resource that stands in its place."""
    table = import_subscription.c
    found: str | None = work.connection.scalar(
        select(table.subscription_id)
        .where(
            table.customer_id == known.customer,
            table.resource_id == known.resource,
            tuple_(table.began_at_ms, table.subscription_id) > tuple_(known.began_at_ms, known.id),
            table.is_ended.is_(False),
        )
        .order_by(table.began_at_ms.desc())
        .limit(1)
    )
    return found


def _ignored(reason: str, customer: str) -> Taken:
    return Taken(EventState.IGNORED, reason, customer)


def _load(work: Work, id_: str) -> _Known:
    table = import_subscription.c
    query = select(import_subscription).where(table.source == STRIPE, table.subscription_id == id_)
    row = work.connection.execute(query).one_or_none()
    if row is None:
        return _Known(id_)
    return _Known(
        id_,
        row.customer_id,
        row.resource_id,
        row.began_at_ms,
        row.terms_at_ms,
        row.terms_rank,
        row.payment_at_ms,
        row.past_due_until_ms,
        row.is_ended,
    )


def _save(work: Work, known: _Known) -> None:
    values: dict[str, Any] = {
        "customer_id": known.customer,
        "resource_id": known.resource,
        "began_at_ms": known.began_at_ms,
        "terms_at_ms": known.terms_at_ms,
        "terms_rank": known.terms_rank,
        "payment_at_ms": known.payment_at_ms,
        "past_due_until_ms": known.past_due_until_ms,
        "is_ended": known.is_ended,
    }
    table = import_subscription
    mine = (table.c.source == STRIPE, table.c.subscription_id == known.id)
    if not work.connection.execute(update(table).where(*mine).values(values)).rowcount:
        values.update(source=STRIPE, subscription_id=known.id)
        work.connection.execute(insert(table).values(values))
