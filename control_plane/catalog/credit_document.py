"""Credits as written: types with their costs, grants, top-ups. `docs/catalog.md` has every key."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, Tag

from control_plane.catalog.document_parts import (
    Absent,
    Credits,
    CurrencyCode,
    DocumentModel,
    Id,
    Name,
    Price,
)
from control_plane.catalog.grant_document import WindowDocument
from control_plane.catalog.price_document import CURRENCIES_MAX, Count, Matched
from weighbridge.rules.credits import DAYS_MAX, MICRO, PLACES_MAX, PRIORITY_DEFAULT, PRIORITY_MAX

CREDIT_TYPES_MAX: Final = 100
COSTS_MAX: Final = 1_000
CREDIT_GRANTS_MAX: Final = 32
TOP_UPS_MAX: Final = 16
NOTIFY_MAX: Final = 10

# Tags name the alternatives of a value. They have a blank, so that no key equals one.
EXPIRY_WORD: Final = "expiry word"

Money = Annotated[dict[CurrencyCode, Price], Field(min_length=1, max_length=CURRENCIES_MAX)]
Priority = Annotated[int, Field(ge=0, le=PRIORITY_MAX)]
Days = Annotated[int, Field(ge=0, le=DAYS_MAX)]


def _expiry_tag(value: Any) -> str:
    return "expiry days" if isinstance(value, dict) else EXPIRY_WORD


class ExpiryDocument(DocumentModel):
    """An expiry some time after credits took effect."""

    after_days: Annotated[int, Field(ge=1, le=DAYS_MAX)] = Field(
        description="How long they last, each day being 24 hours."
    )


CreditExpiry = Annotated[
    Annotated[Literal["never", "period_end", "trial_end"], Tag(EXPIRY_WORD)]
    | Annotated[ExpiryDocument, Tag("expiry days")],
    Discriminator(_expiry_tag),
]


class CreditCostDocument(DocumentModel):
    """What usage of a feature costs."""

    feature: Id = Field(description="The metered feature.")
    match: Matched | Absent = Field(
        None, description="Dimensions that usage must have; else all usage of the feature."
    )
    cost: Price = Field(description="The credits that `per` units cost.")
    per: Count = Field(1, description="For how many units the cost is; fewer cost a part of it.")


class CreditTypeDocument(DocumentModel):
    """A kind of credit."""

    name: Name | Absent = Field(None, description="What people read; else the id.")
    unit: Name = Field("credit", description="What one is called.")
    decimals: Annotated[int, Field(ge=0, le=PLACES_MAX)] = Field(
        2, description="Decimal places that people are shown."
    )
    worth: Money | Absent = Field(None, description="What one credit is worth, by currency.")
    notify_below: Annotated[list[Credits], Field(max_length=NOTIFY_MAX)] = Field(
        default_factory=list, description="Webhooks tell when no more credits than this are left."
    )
    costs: Annotated[list[CreditCostDocument], Field(max_length=COSTS_MAX)] = Field(
        default_factory=list, description="What usage costs, by feature and dimensions."
    )


class CreditGrantDocument(DocumentModel):
    """Credits that a plan or an add-on comes with."""

    id: Id = Field(description="Unique in the plan and the add-ons that suit it.")
    type: Id = Field(description="The credit type.")
    amount: Credits = Field(description="How many credits.")
    kind: Literal["recurring", "prepaid", "promotional", "trial"] | Absent = Field(
        None, description="Why they are there; else recurring with `every`, prepaid without."
    )
    every: WindowDocument | Absent = Field(
        None, description="Granted at the start of each such window; else once."
    )
    per_seat: bool = Field(default=False, description="For each seat of the subscription.")
    priority: Priority = Field(PRIORITY_DEFAULT, description="Lower is spent first.")
    starts_after_days: Days = Field(0, description="When they can be spent; else at once.")
    expires: CreditExpiry | Absent = Field(None, description="When what is left of them expires.")
    rollover_max: Credits | Absent = Field(
        None, description="Credits that stay at most when a period ends."
    )


class TopUpDocument(DocumentModel):
    """Credits that are bought by themselves when the balance is low."""

    type: Id = Field(description="The credit type.")
    threshold: Credits = Field(description="Bought when fewer credits than this are available.")
    target: Credits = Field(description="So many that this many are available.")
    monthly_cap: Credits | Absent = Field(
        None, description="The most that is bought in a calendar month (UTC)."
    )
    price: Money = Field(description="What `per` credits cost, by currency.")
    per: Annotated[int, Field(ge=1, le=MICRO)] = Field(
        1, description="For how many credits the price is."
    )
    priority: Priority = Field(PRIORITY_DEFAULT, description="Lower is spent first.")
    expires: CreditExpiry = Field("never", description="When what is left of them expires.")


CreditGrants = Annotated[list[CreditGrantDocument], Field(max_length=CREDIT_GRANTS_MAX)]
TopUps = Annotated[list[TopUpDocument], Field(max_length=TOP_UPS_MAX)]
