"""What is read of Stripe's objects, in the shapes of its API before and since 2025-03-31."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from weighbridge.rules.credits import MICRO_MAX
from weighbridge.rules.errors import InvalidArgumentError

T = TypeVar("T", bound=BaseModel)


def _id_of(value: Any) -> Any:
    """Return the id of what may be there whole, and "" for what is not there."""
    if isinstance(value, dict):
        return value.get("id", "")
    return "" if value is None else value


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return value.get("data") or ()
    return () if value is None else value


def _or_empty(value: Any) -> Any:
    return {} if value is None else value


Id = Annotated[str, BeforeValidator(_id_of)]
Text = Annotated[str, BeforeValidator(_id_of)]
Minor = Annotated[int, Field(ge=0, le=MICRO_MAX)]
Metadata = Annotated[dict[str, str], BeforeValidator(_or_empty)]


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Price(_Shape):
    id: str
    product: Id = ""


class SubscriptionItem(_Shape):
    """A price that is subscribed; without a quantity where it is metered."""

    price: _Price
    quantity: int | None = None
    current_period_end: int | None = None


class _PauseCollection(_Shape):
    behavior: str = ""
    resumes_at: int | None = None


class StripeSubscription(_Shape):
    """A subscription. Instants are seconds."""

    id: str
    customer: Id
    status: str
    created: int
    metadata: Metadata = {}
    items: Annotated[tuple[SubscriptionItem, ...], BeforeValidator(_listed)] = ()
    billing_cycle_anchor: int | None = None
    trial_end: int | None = None
    cancel_at: int | None = None
    cancel_at_period_end: bool = False
    current_period_end: int | None = None
    pause_collection: _PauseCollection | None = None

    @property
    def ends_at(self) -> int | None:
        """When it ends, where it is to end."""
        if self.cancel_at is not None or not self.cancel_at_period_end:
            return self.cancel_at
        ends = [each.current_period_end for each in self.items if each.current_period_end]
        return self.current_period_end or (max(ends) if ends else None)


class _PriceDetails(_Shape):
    price: Id = ""
    product: Id = ""


class _Pricing(_Shape):
    price_details: _PriceDetails | None = None


class Line(_Shape):
    """What was bought: a line of an invoice, or of a checkout."""

    price: _Price | None = None
    pricing: _Pricing | None = None
    quantity: int | None = None
    amount: int | None = None
    amount_total: int | None = None

    @property
    def names(self) -> tuple[str, str]:
        """The price and its product, "" where they are not known."""
        if self.price is not None:
            return self.price.id, self.price.product
        details = self.pricing.price_details if self.pricing else None
        return (details.price, details.product) if details else ("", "")


Lines = Annotated[tuple[Line, ...], BeforeValidator(_listed)]


class CheckoutSession(_Shape):
    """A checkout. Lines are there only where somebody put them in."""

    id: str
    mode: str
    payment_status: str = ""
    customer: Id = ""
    client_reference_id: Text = ""
    payment_intent: Id = ""
    invoice: Id = ""
    payment_link: Id = ""
    currency: Text = ""
    amount_total: int | None = None
    metadata: Metadata = {}
    line_items: Lines = ()


class _SubscriptionDetails(_Shape):
    subscription: Id = ""


class _Parent(_Shape):
    subscription_details: _SubscriptionDetails | None = None


class _Payment(_Shape):
    payment_intent: Id = ""
    charge: Id = ""


class _InvoicePayment(_Shape):
    payment: _Payment = _Payment()


class Invoice(_Shape):
    """An invoice; of one of a subscription, which."""

    id: str
    customer: Id = ""
    currency: Text = ""
    metadata: Metadata = {}
    lines: Lines = ()
    parent: _Parent | None = None
    subscription: Id = ""
    payment_intent: Id = ""
    charge: Id = ""
    payments: Annotated[tuple[_InvoicePayment, ...], BeforeValidator(_listed)] = ()

    @property
    def subscription_id(self) -> str:
        """The subscription that it is of, "" of one-off ones."""
        details = self.parent.subscription_details if self.parent else None
        return self.subscription or (details.subscription if details else "")

    @property
    def references(self) -> tuple[str, ...]:
        """The names that its payment may come with."""
        paid = [name for each in self.payments for name in each.payment.model_dump().values()]
        return _distinct(self.payment_intent, *paid, self.charge, self.id)


class Charge(_Shape):
    """A charge, and what was paid back of it so far."""

    id: str
    amount: Minor
    amount_captured: Minor = 0
    amount_refunded: Minor
    payment_intent: Id = ""
    invoice: Id = ""

    @property
    def references(self) -> tuple[str, ...]:
        """The names that its purchase may be known by."""
        return _distinct(self.payment_intent, self.id, self.invoice)


class _Data(_Shape):
    object: dict[str, Any]


class StripeEvent(_Shape):
    """An event: what happened, when, to what."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: Annotated[str, Field(min_length=1, max_length=256)]
    created: Annotated[int, Field(ge=0, le=7_258_118_400)]
    data: _Data

    @property
    def at_ms(self) -> int:
        """When it happened."""
        return self.created * 1_000


def read_shape(shape: type[T], found: Any, name: str) -> T:
    """Read an object. Raises InvalidArgumentError naming the field."""
    try:
        return shape.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in (name, *first["loc"]))
        raise InvalidArgumentError(where, first["msg"]) from None


def _distinct(*names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))
