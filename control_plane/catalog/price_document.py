"""Prices as written: one model per kind. `docs/catalog.md` explains every key."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from control_plane.catalog.document_parts import (
    Absent,
    Amount,
    CurrencyCode,
    DocumentModel,
    Id,
    Percent,
    PeriodName,
    Price,
)
from weighbridge.rules.credits import MICRO
from weighbridge.rules.rating.tiers import PER_MAX, TIERS_MAX
from weighbridge.rules.units import DIMENSION_VALUE_LENGTH_MAX, DIMENSIONS_MAX

PRICES_MAX: Final = 500
CURRENCIES_MAX: Final = 32

# The key that says what kind of price it is, in the order in which they are looked for.
PRICE_KINDS: Final = (
    "credits",
    "flat",
    "per_seat",
    "per_unit",
    "graduated",
    "volume",
    "package",
    "percent",
    "minimum",
    "commitment",
)

DimensionValue = Annotated[str, StringConstraints(max_length=DIMENSION_VALUE_LENGTH_MAX)]
Count = Annotated[int, Field(ge=1, le=PER_MAX)]
Matched = Annotated[dict[Id, DimensionValue], Field(min_length=1, max_length=DIMENSIONS_MAX)]


def price_tag(value: Any) -> str | None:
    """Return the tag of a price's model; None where no key says its kind."""
    if not isinstance(value, dict):
        return "price flat"
    return next((f"price {kind}" for kind in PRICE_KINDS if kind in value), None)


class PriceDocument(DocumentModel):
    """What every price has."""

    id: Id | Absent = Field(None, description="What line items and changes call it; else made up.")
    every: PeriodName = Field("month", description="The billing period that it is charged for.")


class FlatPriceDocument(PriceDocument):
    """A recurring fee."""

    flat: Price = Field(description="The fee for each period.")
    feature: Id | Absent = Field(None, description="What it is for; changes no amount.")


class SeatPriceDocument(PriceDocument):
    """A recurring fee for each seat of the subscription."""

    per_seat: Price = Field(description="The fee for each seat and period.")
    included: Amount = Field(0, description="Seats that are free.")
    feature: Id | Absent = Field(None, description="What it is for; changes no amount.")


class AllowanceDocument(DocumentModel):
    """Units of usage that are free in each period."""

    included: Amount = Field(0, description="Units that are free.")
    included_per_seat: Amount = Field(0, description="Units that are free for each seat.")
    past_limit: Id | Absent = Field(
        None, description="Charge past that limit of the feature, as the customer has it."
    )


class UnitPriceDocument(AllowanceDocument, PriceDocument):
    """Every unit costs the same."""

    feature: Id = Field(description="The metered feature whose usage is charged.")
    match: Matched | Absent = Field(
        None, description="Dimensions that usage must have; else all usage of the feature."
    )
    per_unit: Price = Field(description="The price of `per` units.")
    per: Count = Field(1, description="For how many units the price is; fewer cost a part of it.")


class CreditPriceDocument(PriceDocument):
    """Every credit used past the balance costs the same."""

    credits: Id = Field(description="The credit type; something draws on it with kind soft.")
    per_unit: Price = Field(description="The price of `per` credits.")
    per: Annotated[int, Field(ge=1, le=MICRO)] = Field(
        1, description="For how many credits the price is; fewer cost a part of it."
    )


class TierDocument(DocumentModel):
    """A tier of a table."""

    above: Amount | Absent = Field(
        None, description="Where the tier before ends; for readers, and checked."
    )
    up_to: Amount | Absent = Field(
        None, description="The last unit in the tier; the last tier leaves it out."
    )
    unit: Price | Absent = Field(None, description="The price of `per` units in the tier.")
    flat: Price | Absent = Field(None, description="Due once when the tier is used.")


Tiers = Annotated[list[TierDocument], Field(min_length=1, max_length=TIERS_MAX)]


class CountedPriceDocument(AllowanceDocument, PriceDocument):
    """What tables and packages have: they count usage of a feature, or seats."""

    of: Literal["usage", "seats"] = Field("usage", description="What is counted.")
    feature: Id | Absent = Field(
        None, description="The metered feature whose usage is charged; needed `of: usage`."
    )
    match: Matched | Absent = Field(
        None, description="Dimensions that usage must have; else all usage of the feature."
    )


class GraduatedPriceDocument(CountedPriceDocument):
    """Each unit costs what the tier says that it lies in."""

    graduated: Tiers = Field(description="The tiers, from the first unit to the last.")
    per: Count = Field(1, description="For how many units the tiers' prices are.")


class VolumePriceDocument(CountedPriceDocument):
    """All units cost what the tier says that the last of them lies in."""

    volume: Tiers = Field(description="The tiers, from the first unit to the last.")
    per: Count = Field(1, description="For how many units the tiers' prices are.")


class PackagePriceDocument(CountedPriceDocument):
    """Each started package costs the same."""

    package: Price = Field(description="The price of each started package.")
    size: Count = Field(description="How many units a package has.")


class PercentPriceDocument(PriceDocument):
    """A percentage of an amount of money."""

    percent: Percent = Field(description="The percentage, 0 to 100.")
    of: Literal["usage", "fees"] = Field(
        description="usage: money that the feature meters, in minor units; fees: the plan's fees."
    )
    feature: Id | Absent = Field(
        None, description="The metered feature that counts the money; needed `of: usage`."
    )
    match: Matched | Absent = Field(
        None, description="Dimensions that usage must have; else all usage of the feature."
    )
    flat_per_transaction: Price | Absent = Field(
        None, description="Added for each transaction (`of: usage`)."
    )
    cap: Price | Absent = Field(
        None, description="The most that one transaction costs (`of: usage`)."
    )


class MinimumPriceDocument(PriceDocument):
    """What is due at least."""

    minimum: Price = Field(description="At least this much for each period.")
    feature: Id | Absent = Field(None, description="Of this feature; else of everything.")


class CommitmentPriceDocument(PriceDocument):
    """What is paid in any case, and usage is drawn from."""

    commitment: Price = Field(description="Paid for each period; usage is drawn from it.")
    feature: Id | Absent = Field(None, description="By usage of this feature; else by all usage.")


FeaturePrice = (
    FlatPriceDocument
    | SeatPriceDocument
    | UnitPriceDocument
    | GraduatedPriceDocument
    | VolumePriceDocument
    | PackagePriceDocument
    | PercentPriceDocument
    | MinimumPriceDocument
    | CommitmentPriceDocument
)
"""Prices that name a feature, or can."""

AnyPriceDocument = Annotated[
    Annotated[CreditPriceDocument, Tag("price credits")]
    | Annotated[FlatPriceDocument, Tag("price flat")]
    | Annotated[SeatPriceDocument, Tag("price per_seat")]
    | Annotated[UnitPriceDocument, Tag("price per_unit")]
    | Annotated[GraduatedPriceDocument, Tag("price graduated")]
    | Annotated[VolumePriceDocument, Tag("price volume")]
    | Annotated[PackagePriceDocument, Tag("price package")]
    | Annotated[PercentPriceDocument, Tag("price percent")]
    | Annotated[MinimumPriceDocument, Tag("price minimum")]
    | Annotated[CommitmentPriceDocument, Tag("price commitment")],
    Discriminator(price_tag),
]

MODEL_OF_PRICE_TAG: Final[dict[str, type[DocumentModel]]] = {
    "price credits": CreditPriceDocument,
    "price flat": FlatPriceDocument,
    "price per_seat": SeatPriceDocument,
    "price per_unit": UnitPriceDocument,
    "price graduated": GraduatedPriceDocument,
    "price volume": VolumePriceDocument,
    "price package": PackagePriceDocument,
    "price percent": PercentPriceDocument,
    "price minimum": MinimumPriceDocument,
    "price commitment": CommitmentPriceDocument,
}

PriceList = Annotated[list[AnyPriceDocument], Field(min_length=1, max_length=PRICES_MAX)]
PricesDocument = Annotated[dict[CurrencyCode, PriceList], Field(max_length=CURRENCIES_MAX)]

CountedPrice = (
    UnitPriceDocument | GraduatedPriceDocument | VolumePriceDocument | PackagePriceDocument
)
"""Prices that count units and can have an allowance."""
