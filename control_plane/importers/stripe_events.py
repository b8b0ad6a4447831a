"""Stripe's events: signed, read, and applied by their type."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

import stripe

from control_plane.importers.events import EventState, IncomingEvent, Taken
from control_plane.importers.stripe_purchases import (
    apply_checkout,
    apply_paid_invoice,
    apply_refund,
)
from control_plane.importers.stripe_shapes import Invoice, StripeEvent, read_shape
from control_plane.importers.stripe_subscriptions import (
    PAYMENT_FAILED,
    RANKS,
    apply_invoice,
    apply_subscription,
)
from control_plane.importers.work import STRIPE, Work
from weighbridge.rules.errors import InvalidArgumentError

SIGNATURE: Final = "stripe-signature"


def signed_event(body: bytes, signature: str, secret: str, tolerance_s: int) -> IncomingEvent:
    """Return the event that a request brings.

    Raises InvalidArgumentError where the signature is not of the body and the secret, or too old,
    or the body is no event.
    """
    try:
        text = body.decode("utf-8")
        stripe.WebhookSignature.verify_header(text, signature, secret, tolerance_s)
    except UnicodeDecodeError:
        raise InvalidArgumentError("body", "is not UTF-8") from None
    except stripe.SignatureVerificationError as error:
        # Its message says which check failed; what was sent is not repeated.
        raise InvalidArgumentError(SIGNATURE, str(error.user_message or error)) from None
    event = _parsed(text)
    return IncomingEvent(STRIPE, event.id, event.type, event.at_ms, text)


def apply_event(work: Work, incoming: IncomingEvent) -> Taken:
    """Apply an event. Raises WeighbridgeError saying why it cannot be applied."""
    event = _parsed(incoming.payload)
    apply = _APPLYING.get(event.type)
    if apply is None:
        return Taken(EventState.IGNORED, "is of a type that changes nothing here")
    return apply(work, event)


def _parsed(text: str) -> StripeEvent:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError("body", f"is no JSON: {error}") from error
    return read_shape(StripeEvent, found, "body")


def _apply_paid(work: Work, event: StripeEvent) -> Taken:
    invoice = read_shape(Invoice, event.data.object, "data.object")
    bought = apply_paid_invoice(work, event, invoice)
    if not invoice.subscription_id:
        return bought or Taken(EventState.IGNORED, "buys no credits")
    paid = apply_invoice(work, event, invoice)
    return bought if bought is not None else paid


def _apply_failed(work: Work, event: StripeEvent) -> Taken:
    invoice = read_shape(Invoice, event.data.object, "data.object")
    if not invoice.subscription_id:
        return Taken(EventState.IGNORED, "is of no subscription")
    return apply_invoice(work, event, invoice)


_APPLYING: Final[Mapping[str, Callable[[Work, StripeEvent], Taken]]] = {
    **dict.fromkeys(RANKS, apply_subscription),
    "invoice.paid": _apply_paid,
    PAYMENT_FAILED: _apply_failed,
    "checkout.session.completed": apply_checkout,
    "checkout.session.async_payment_succeeded": apply_checkout,
    "charge.refunded": apply_refund,
}
