"""Purchases open credits once, whatever names their payment comes with; refunds withdraw them.

A refund is told as what was paid back of a payment so far, so it does not matter how often and in
which order that comes, nor whether its purchase is known yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, NamedTuple

from sqlalchemy import Row, insert, select, update

from control_plane.crediting import (
    Adjustment,
    LedgerId,
    NewGrant,
    Price,
    Reversal,
    adjust_grant,
    create_grant,
    open_book,
    reverse,
)
from control_plane.importers.config import DAY_MS, GrantTerms
from control_plane.importers.events import EventState, Taken
from control_plane.importers.stripe_shapes import (
    Charge,
    CheckoutSession,
    Invoice,
    Line,
    StripeEvent,
    read_shape,
)
from control_plane.importers.terms import unmapped
from control_plane.importers.work import CUSTOMER_KEY, STRIPE, Work, known_customer
from control_plane.provisioning.changing import require_customer
from control_plane.storage.import_tables import import_grant, import_reference, import_refund
from weighbridge.rules.credits import MICRO, GrantKind
from weighbridge.rules.errors import FailedPreconditionError, NotFoundError

PRICE_KEY: Final = "weighbridge_price"
QUANTITY_KEY: Final = "weighbridge_quantity"


class _Bought(NamedTuple):
    terms: GrantTerms
    quantity: int
    paid_minor: int | None


class _Purchase(NamedTuple):
    """What was bought by whom. `references` are the names that its payment may come with."""

    customer: str
    references: tuple[str, ...]
    currency: str
    bought: tuple[_Bought, ...]
    at_ms: int


def apply_checkout(work: Work, event: StripeEvent) -> Taken:
    """Open the credits of a checkout that is paid."""
    session = read_shape(CheckoutSession, event.data.object, "data.object")
    if session.mode != "payment":
        return Taken(EventState.IGNORED, "is no checkout of a payment")
    if session.payment_status == "unpaid":
        return Taken(EventState.IGNORED, "is not paid yet")
    named = (session.metadata.get(CUSTOMER_KEY, ""), session.client_reference_id)
    references = [session.payment_intent, session.invoice, session.id]
    bought = _bought(work, session.line_items or _lines_of(session))
    return _open(work, event, (session.customer, *named), references, bought, session.currency)


def apply_paid_invoice(work: Work, event: StripeEvent, invoice: Invoice) -> Taken | None:
    """Open the credits of a paid invoice; None where there are none on one of a subscription."""
    is_of_subscription = bool(invoice.subscription_id)
    bought = _bought(work, invoice.lines, is_strict=not is_of_subscription)
    if is_of_subscription and not bought:
        return None
    named = (invoice.customer, invoice.metadata.get(CUSTOMER_KEY, ""))
    return _open(work, event, named, invoice.references, bought, invoice.currency)


def apply_refund(work: Work, event: StripeEvent) -> Taken:
    """Withdraw as much of a purchase's credits as was paid back of its payment."""
    charge = read_shape(Charge, event.data.object, "data.object")
    paid_minor = charge.amount_captured or charge.amount
    for reference in charge.references:
        _note_refund(work, reference, paid_minor, charge.amount_refunded)
    purchase = _find_purchase(work, charge.references)
    if purchase is None:
        return Taken(EventState.IGNORED, "is noted; no credits were bought by its payment")
    return _withdraw(work, purchase, charge.references)


def _lines_of(session: CheckoutSession) -> tuple[Line, ...]:
    """Return what its metadata say was bought, else its payment link."""
    name = session.metadata.get(PRICE_KEY) or session.payment_link
    told = session.metadata.get(QUANTITY_KEY, "1")
    if not told.isdecimal():
        problem = f"metadata {QUANTITY_KEY} is {told!r}, no number"
        raise FailedPreconditionError(problem)
    if not name:
        raise NotFoundError(
            f"the checkout does not say what was bought; set its metadata {PRICE_KEY}"
        )
    line = {"price": {"id": name}, "quantity": int(told), "amount_total": session.amount_total}
    return (read_shape(Line, line, "line_items"),)


def _bought(work: Work, lines: Iterable[Line], *, is_strict: bool = True) -> tuple[_Bought, ...]:
    """Return the credits that lines buy. Raises NotFoundError for a price that nobody mapped.

    Not `is_strict`: other lines are the business of a subscription.
    """
    bought = []
    for line in lines:
        rule = work.config.rule(*line.names)
        if rule is None and is_strict:
            raise unmapped(line.names[0])
        if rule is not None and rule.grant is not None:
            quantity = 1 if line.quantity is None else line.quantity
            paid_minor = line.amount if line.amount_total is None else line.amount_total
            bought.append(_Bought(rule.grant, quantity, paid_minor))
    return tuple(each for each in bought if each.quantity > 0)


def _open(
    work: Work,
    event: StripeEvent,
    named: tuple[str, ...],
    references: Iterable[str],
    bought: tuple[_Bought, ...],
    currency: str,
) -> Taken:
    """Open credits once. `named`: the customer's Stripe id, then other names."""
    if not bought:
        return Taken(EventState.IGNORED, "buys no credits")
    customer = known_customer(work, *named[1:], stripe_id=named[0])
    if not customer:
        told = next(filter(None, named), "nobody")
        raise NotFoundError(f"no customer is {told!r} in Stripe; say who it is by external-id")
    names = tuple(dict.fromkeys(name for name in references if name))
    known = _find_purchase(work, names)
    _note_references(work, names, known or names[0])
    if known is not None:
        return Taken(EventState.IGNORED, f"is payment {known}, whose credits are there", customer)
    purchase = _Purchase(customer, names, currency.upper(), bought, event.at_ms)
    for position, each in enumerate(bought):
        _grant(work, purchase, position, each)
    # Also where the refund was told first.
    return _withdraw(work, names[0], names)


def _grant(work: Work, purchase: _Purchase, position: int, bought: _Bought) -> None:
    terms, id_ = bought.terms, purchase.references[0]
    expires_at_ms = None
    if terms.expires_after_days is not None:
        expires_at_ms = purchase.at_ms + terms.expires_after_days * DAY_MS
    price = None
    if bought.paid_minor is not None and purchase.currency:
        price = Price(purchase.currency, bought.paid_minor)
    amount = terms.micro * bought.quantity
    new = NewGrant(
        key=_key(id_, position),
        kind=GrantKind.PREPAID,
        amount=amount,
        expires_at_ms=expires_at_ms,
        priority=terms.priority,
        price=price,
        note=f"bought in Stripe: {id_}"[:256],
    )
    _require_type(work, purchase.customer, terms.credit_type)
    ledger = LedgerId(purchase.customer, terms.credit_type)
    with open_book(work.connection, ledger, work.now_ms) as book:
        posted = create_grant(book, new)
    work.connection.execute(
        insert(import_grant).values(
            source=STRIPE,
            purchase_id=id_,
            position=position,
            customer_id=purchase.customer,
            credit_type=terms.credit_type,
            grant_id=posted.number,
            amount=amount,
            withdrawn=0,
        )
    )


def _withdraw(work: Work, purchase_id: str, references: tuple[str, ...]) -> Taken:
    """Withdraw what refunds of any of the names say, and is not withdrawn yet."""
    paid_minor, refunded_minor = _refunded(work, references)
    table = import_grant.c
    mine = (table.source == STRIPE, table.purchase_id == purchase_id)
    grants = work.connection.execute(
        select(import_grant).where(*mine).order_by(table.position)
    ).all()
    missing, customer = 0, grants[0].customer_id
    for row in grants:
        target = row.amount
        if refunded_minor < paid_minor:
            target = row.amount * refunded_minor // paid_minor
        if target <= row.withdrawn:
            continue
        taken = _take(work, row, target)
        missing += target - row.withdrawn - taken
        work.connection.execute(
            update(import_grant)
            .where(*mine, table.position == row.position)
            .values(withdrawn=row.withdrawn + taken)
        )
    if missing:
        problem = (
            f"{Decimal(missing) / MICRO} credits that were paid back are spent or held by sidecars"
        )
        return Taken(EventState.SET_ASIDE, problem, customer)
    return Taken(EventState.APPLIED, customer=customer)


def _take(work: Work, row: Row[Any], target: int) -> int:
    """Withdraw as much of a grant as is left, up to what is to be withdrawn in all."""
    ledger = LedgerId(row.customer_id, row.credit_type)
    with open_book(work.connection, ledger, work.now_ms) as book:
        lot = book.lot(row.grant_id)
        wanted: int = target - row.withdrawn
        if lot.grant.is_over(work.now_ms):
            # What was left of it lapsed: nothing can be spent of it any more.
            return wanted
        change = min(wanted, lot.free)
        if not change:
            return 0
        grant_key = _key(row.purchase_id, row.position)
        key = f"{grant_key}:refund:{row.withdrawn + change}"
        if change == row.amount:
            reverse(book, Reversal(key, grant_key, note="paid back in Stripe"))
        else:
            adjust_grant(book, Adjustment(key, row.grant_id, -change, note="paid back in Stripe"))
        return change


def _require_type(work: Work, customer: str, credit_type: str) -> None:
    row = require_customer(work.connection, "customer", customer)
    catalog = work.library.load(work.connection, row.catalog_id)
    if credit_type not in catalog.credit_types:
        raise NotFoundError(f"credit type {credit_type!r} is not in catalog {catalog.id!r}")


def _key(purchase_id: str, position: int) -> str:
    return f"{STRIPE}:{purchase_id}:{position}"


def _find_purchase(work: Work, references: tuple[str, ...]) -> str | None:
    table = import_reference.c
    found: str | None = work.connection.scalar(
        select(table.purchase_id)
        .where(table.source == STRIPE, table.reference.in_(references))
        .order_by(table.purchase_id)
        .limit(1)
    )
    return found


def _note_references(work: Work, references: tuple[str, ...], purchase_id: str) -> None:
    table = import_reference.c
    known = set(
        work.connection.scalars(
            select(table.reference).where(table.source == STRIPE, table.reference.in_(references))
        )
    )
    rows = [
        {"source": STRIPE, "reference": each, "purchase_id": purchase_id}
        for each in references
        if each not in known
    ]
    if rows:
        work.connection.execute(insert(import_reference), rows)


def _note_refund(work: Work, reference: str, paid_minor: int, refunded_minor: int) -> None:
    table = import_refund
    mine = (table.c.source == STRIPE, table.c.reference == reference)
    stored = work.connection.scalar(select(table.c.refunded_minor).where(*mine))
    values = {"paid_minor": paid_minor, "refunded_minor": refunded_minor}
    if stored is None:
        values_of = {"source": STRIPE, "reference": reference, **values}
        work.connection.execute(insert(table).values(values_of))
    elif stored < refunded_minor:
        work.connection.execute(update(table).where(*mine).values(values))


def _refunded(work: Work, references: tuple[str, ...]) -> tuple[int, int]:
    """Return what was paid, and paid back of it; (1, 0) where nothing was."""
    table = import_refund.c
    row = work.connection.execute(
        select(table.paid_minor, table.refunded_minor)
        .where(table.source == STRIPE, table.reference.in_(references))
        .order_by(table.refunded_minor.desc())
        .limit(1)
    ).one_or_none()
    return (1, 0) if row is None else (row.paid_minor, row.refunded_minor)
