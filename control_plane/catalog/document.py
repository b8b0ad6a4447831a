"""The catalog document as written: one model per mapping. `docs/catalog.md` explains every key.

Unknown keys are refused, and nothing is coerced: "5" is no number, 1 is no boolean.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Discriminator, Field, StringConstraints, Tag

from control_plane.catalog.document_parts import (
    URL_PATTERN,
    Absent,
    Amount,
    DocumentModel,
    Id,
    Name,
    PeriodName,
)
from control_plane.catalog.price_document import PricesDocument
from weighbridge.rules.units import AMOUNT_MAX, TRIAL_DAYS_MAX

FEATURES_MAX: Final = 1_000
PLANS_MAX: Final = 200
ADD_ONS_MAX: Final = 200
LIMITS_MAX: Final = 16
RATES_MAX: Final = 16
VALUES_MAX: Final = 256
CANCEL: Final = "cancel"

Unlimited = Literal["unlimited"]
RateAmount = Annotated[int, Field(ge=1, le=AMOUNT_MAX)]
WindowName = Literal["hour", "day", "week", "month", "year", "lifetime"]
KindName = Literal["hard", "soft"]
RatePeriodName = Literal["second", "minute", "hour"]
EnforcementName = Literal["enforce", "observe"]
MeterName = Literal["sum", "allocation"]
ProrationName = Literal["time", "difference", "none"]

# Tags name the alternatives of a value. They have a blank, so that no key equals one.
LIMIT_WORD: Final = "limit word"
GRANT_WORD: Final = "grant word"
OUTAGE_WORD: Final = "outage word"
WINDOW_WORD: Final = "window word"
FEATURE_TYPES: Final = ("boolean", "number", "enum", "metered")


def _limit_tag(value: Any) -> str:
    return LIMIT_WORD if isinstance(value, str) else "limit amount"


def _grant_tag(value: Any) -> str | None:
    if isinstance(value, bool):
        return "grant switch"
    tags = {int: "grant number", str: GRANT_WORD, list: "grant values", dict: "grant limits"}
    return tags.get(type(value))


def _outage_tag(value: Any) -> str:
    return "outage mapping" if isinstance(value, dict) else OUTAGE_WORD


def _window_tag(value: Any) -> str:
    if not isinstance(value, dict):
        return WINDOW_WORD
    return "window anniversary" if "anniversary" in value else "window calendar"


def _feature_tag(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    return f"feature {kind}" if kind in FEATURE_TYPES else "feature metered"


class SafeCapacityDocument(DocumentModel):
    """An outage policy with a bound of its own."""

    safe_capacity: Amount = Field(
        description="Units admitted per customer and feature during one outage."
    )


OutageDocument = Annotated[
    Annotated[Literal["deny", "allow", "last_known"], Tag(OUTAGE_WORD)]
    | Annotated[SafeCapacityDocument, Tag("outage mapping")],
    Discriminator(_outage_tag),
]


ENFORCEMENT: Final = "enforce refuses; observe allows all, and says what it would have refused."


class BooleanFeature(DocumentModel):
    """A feature that a plan has or has not."""

    type: Literal["boolean"] = Field(description="Has it or has it not.")
    name: Name | Absent = Field(None, description="What people read; else the id.")
    enforcement: EnforcementName = Field("enforce", description=ENFORCEMENT)


class NumberFeature(DocumentModel):
    """A number that a plan sets and nobody counts."""

    type: Literal["number"] = Field(description="A number that a plan sets; not counted.")
    name: Name | Absent = Field(None, description="What people read; else the id.")
    unit: Name | Absent = Field(None, description="What the number counts.")
    enforcement: EnforcementName = Field("enforce", description=ENFORCEMENT)


class EnumFeature(DocumentModel):
    """A feature of which a plan grants some of the listed values."""

    type: Literal["enum"] = Field(description="Some of the values listed.")
    name: Name | Absent = Field(None, description="What people read; else the id.")
    values: Annotated[list[Id], Field(min_length=1, max_length=VALUES_MAX)] = Field(
        description="All values there are."
    )
    enforcement: EnforcementName = Field("enforce", description=ENFORCEMENT)


class MeteredFeature(DocumentModel):
    """A feature whose usage is counted."""

    type: Literal["metered"] = Field(description="Usage is counted against limits.")
    name: Name | Absent = Field(None, description="What people read; else the id.")
    unit: Name | Absent = Field(None, description="What one unit of usage is.")
    meter: MeterName = Field(
        "sum", description="sum counts what was used; allocation what is held now."
    )
    outage: OutageDocument = Field(
        "last_known", description="What is answered while the control plane is away."
    )
    enforcement: EnforcementName = Field("enforce", description=ENFORCEMENT)


FeatureDocument = Annotated[
    Annotated[BooleanFeature, Tag("feature boolean")]
    | Annotated[NumberFeature, Tag("feature number")]
    | Annotated[EnumFeature, Tag("feature enum")]
    | Annotated[MeteredFeature, Tag("feature metered")],
    Discriminator(_feature_tag),
]


class CalendarWindow(DocumentModel):
    """A window that turns with the calendar."""

    calendar: PeriodName = Field(description="Turns at the local start of each.")
    time_zone: str = Field("UTC", description="IANA name; where the calendar hangs.")


class AnniversaryWindow(DocumentModel):
    """A window that turns when the subscription's anchor returns."""

    anniversary: PeriodName = Field(description="Turns each such time after the anchor.")
    time_zone: str = Field("UTC", description="IANA name; whose local time returns.")


WindowDocument = Annotated[
    Annotated[WindowName, Tag(WINDOW_WORD)]
    | Annotated[CalendarWindow, Tag("window calendar")]
    | Annotated[AnniversaryWindow, Tag("window anniversary")],
    Discriminator(_window_tag),
]


class LimitDocument(DocumentModel):
    """A limit of a plan."""

    id: Id | Absent = Field(
        None, description="Unique within the feature; else the period's name, or `held`."
    )
    limit: Annotated[
        Annotated[Amount, Tag("limit amount")] | Annotated[Unlimited, Tag(LIMIT_WORD)],
        Discriminator(_limit_tag),
    ] = Field(description="Units in each window, or `unlimited`.")
    kind: KindName = Field("hard", description="hard refuses past it; soft counts overage.")
    window: WindowDocument | Absent = Field(
        None, description="When usage starts from zero; none of what is held now."
    )
    per_seat: bool = Field(
        default=False, description="Units for each seat of the subscription, not for all of them."
    )


class AddOnLimitDocument(DocumentModel):
    """What an add-on adds to a plan's limit."""

    id: Id = Field(description="Which limit of the plan it adds to.")
    limit: Annotated[
        Annotated[Amount, Tag("limit amount")] | Annotated[Unlimited, Tag(LIMIT_WORD)],
        Discriminator(_limit_tag),
    ] = Field(description="Units added to each window, or `unlimited`.")
    kind: KindName | Absent = Field(None, description="Else the plan's.")
    window: WindowDocument | Absent = Field(
        None,
        description="Else the plan's; needed where a plan lacks the feature, and usage is summed.",
    )


class RateDocument(DocumentModel):
    """How fast a plan lets a metered feature be used."""

    id: Id | Absent = Field(
        None, description="Unique within the feature; else per_ and the period."
    )
    limit: RateAmount = Field(description="Units that come back in each period.")
    per: RatePeriodName = Field(description="The period.")
    burst: RateAmount | Absent = Field(None, description="Units at once; else the limit.")


class AddOnRateDocument(DocumentModel):
    """What an add-on adds to a plan's rate."""

    id: Id = Field(description="Which rate of the plan it adds to.")
    limit: RateAmount = Field(description="Units added to each period.")
    per: RatePeriodName | Absent = Field(
        None, description="Else the plan's; needed where a plan lacks the feature."
    )
    burst: RateAmount | Absent = Field(None, description="Units added at once; else the limit.")


_LIMITS_OR_RATES: Final = ConfigDict(json_schema_extra={"minProperties": 1})


class LimitsDocument(DocumentModel):
    """What a plan grants on a metered feature: limits, rates or both."""

    model_config = _LIMITS_OR_RATES

    limits: Annotated[list[LimitDocument], Field(min_length=1, max_length=LIMITS_MAX)] | Absent = (
        Field(None, description="All of them hold at once; else there is no limit in all.")
    )
    rates: Annotated[list[RateDocument], Field(min_length=1, max_length=RATES_MAX)] | Absent = (
        Field(None, description="How fast; all of them hold at once.")
    )


class AddOnLimitsDocument(DocumentModel):
    """What an add-on adds to a metered feature: limits, rates or both."""

    model_config = _LIMITS_OR_RATES

    limits: (
        Annotated[list[AddOnLimitDocument], Field(min_length=1, max_length=LIMITS_MAX)] | Absent
    ) = Field(None, description="Added limit by limit.")
    rates: (
        Annotated[list[AddOnRateDocument], Field(min_length=1, max_length=RATES_MAX)] | Absent
    ) = Field(None, description="Added rate by rate.")


GrantedValues = Annotated[list[Id], Field(min_length=1, max_length=VALUES_MAX)]

Grant = Annotated[
    Annotated[bool, Tag("grant switch")]
    | Annotated[Amount, Tag("grant number")]
    | Annotated[Unlimited, Tag(GRANT_WORD)]
    | Annotated[GrantedValues, Tag("grant values")]
    | Annotated[LimitsDocument, Tag("grant limits")],
    Discriminator(_grant_tag),
]

AddOnGrant = Annotated[
    Annotated[bool, Tag("grant switch")]
    | Annotated[Amount, Tag("grant number")]
    | Annotated[Unlimited, Tag(GRANT_WORD)]
    | Annotated[GrantedValues, Tag("grant values")]
    | Annotated[AddOnLimitsDocument, Tag("grant limits")],
    Discriminator(_grant_tag),
]


class OfferDocument(DocumentModel):
    """What to show someone whom this plan or add-on would help."""

    message: Annotated[str, StringConstraints(max_length=500)] = Field(
        "", description="A sentence for the end user."
    )
    url: Annotated[str, StringConstraints(max_length=2048, pattern=URL_PATTERN)] | Absent = Field(
        None, description="Where it is bought."
    )


class TrialDocument(DocumentModel):
    """How long a plan can be tried by who comes to it for the first time."""

    days: Annotated[int, Field(ge=1, le=TRIAL_DAYS_MAX)] = Field(
        description="How long, each day being 24 hours."
    )
    at_end: Id = Field(
        CANCEL, description="The plan that follows, which can be the plan itself; or `cancel`."
    )


class PlanDocument(DocumentModel):
    """A plan."""

    name: Name | Absent = Field(None, description="What people read; else the id.")
    extends: Id | Absent = Field(None, description="The plan whose grants it starts from.")
    features: Annotated[dict[Id, Grant], Field(max_length=FEATURES_MAX)] = Field(
        default_factory=dict, description="What it grants, by feature."
    )
    prices: PricesDocument | Absent = Field(
        None, description="What it costs, by currency; else what the plan it extends costs."
    )
    proration: ProrationName | Absent = Field(
        None, description="What changing to it within a period costs at once; else as inherited."
    )
    trial: TrialDocument | Absent = Field(None, description="How long it can be tried; else not.")
    upgrades_to: Annotated[list[Id], Field(max_length=PLANS_MAX)] = Field(
        default_factory=list, description="Plans to offer when this one refuses, nearest first."
    )
    offer: OfferDocument = Field(
        default_factory=lambda: OfferDocument(message="", url=None),
        description="What to show someone whom this plan would help.",
    )


class AddOnDocument(DocumentModel):
    """An add-on."""

    name: Name | Absent = Field(None, description="What people read; else the id.")
    plans: Annotated[list[Id], Field(min_length=1, max_length=PLANS_MAX)] | Absent = Field(
        None, description="Plans it can be added to; else all."
    )
    features: Annotated[dict[Id, AddOnGrant], Field(min_length=1, max_length=FEATURES_MAX)] = Field(
        default_factory=dict, description="What it adds, by feature; needed unless it has prices."
    )
    prices: Annotated[PricesDocument, Field(min_length=1)] | Absent = Field(
        None, description="What it costs, by currency."
    )
    offer: OfferDocument = Field(
        default_factory=lambda: OfferDocument(message="", url=None),
        description="What to show someone whom this add-on would help.",
    )


class CatalogDocument(DocumentModel):
    """A catalog: what is sold, by plan and add-on."""

    catalog: Id = Field(description="The catalog's id.")
    description: Annotated[str, StringConstraints(max_length=2000)] = Field(
        "", description="For people; changes nothing."
    )
    features: Annotated[dict[Id, FeatureDocument], Field(min_length=1, max_length=FEATURES_MAX)] = (
        Field(description="Everything that plans can grant, by id.")
    )
    plans: Annotated[dict[Id, PlanDocument], Field(min_length=1, max_length=PLANS_MAX)] = Field(
        description="What a customer can be on, by id."
    )
    add_ons: Annotated[dict[Id, AddOnDocument], Field(max_length=ADD_ONS_MAX)] = Field(
        default_factory=dict, description="What can be bought on top of a plan, by id."
    )


def catalog_schema() -> dict[str, Any]:
    """Return the JSON Schema of a catalog document, for editors."""
    schema = CatalogDocument.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Weighbridge catalog",
    }
