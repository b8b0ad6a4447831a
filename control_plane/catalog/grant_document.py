"""What plans and add-ons grant, as written. `docs/catalog.md` explains every key."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from control_plane.catalog.document_parts import (
    Absent,
    Amount,
    DocumentModel,
    Id,
    MoneyFraction,
    PeriodName,
)
from control_plane.catalog.feature_document import VALUES_MAX
from weighbridge.rules.units import AMOUNT_MAX
from weighbridge.rules.window import LENGTH_MS_MAX, MINUTE_MS

LIMITS_MAX: Final = 16
RATES_MAX: Final = 16

Unlimited = Literal["unlimited"]
RateAmount = Annotated[int, Field(ge=1, le=AMOUNT_MAX)]
WindowName = Literal["hour", "day", "week", "month", "year", "lifetime"]
LengthName = Literal["hour", "day", "week"]
LengthCount = Annotated[int, Field(ge=1, le=LENGTH_MS_MAX // MINUTE_MS)]
KindName = Literal["hard", "soft"]
RatePeriodName = Literal["second", "minute", "hour"]
RateScopeName = Literal["sidecar", "fleet"]

# Tags name the alternatives of a value. They have a blank, so that no key equals one.
LIMIT_WORD: Final = "limit word"
GRANT_WORD: Final = "grant word"
WINDOW_WORD: Final = "window word"
LENGTH_WORD: Final = "length word"


def _limit_tag(value: Any) -> str:
    if isinstance(value, Decimal):
        return "limit money"
    return LIMIT_WORD if isinstance(value, str) else "limit amount"


def _grant_tag(value: Any) -> str | None:
    if isinstance(value, bool):
        return "grant switch"
    tags = {int: "grant number", str: GRANT_WORD, list: "grant values", dict: "grant limits"}
    return tags.get(type(value))


def _credits_tag(value: Any) -> str:
    return "credits draw" if isinstance(value, dict) else "credits id"


def _window_tag(value: Any) -> str:
    if not isinstance(value, dict):
        return WINDOW_WORD
    kinds = (key for key in ("rolling", "session", "anniversary") if key in value)
    return f"window {next(kinds, 'calendar')}"


def _length_tag(value: Any) -> str:
    return "length mapping" if isinstance(value, dict) else LENGTH_WORD


class CalendarWindow(DocumentModel):
    """A window that turns with the calendar."""

    calendar: PeriodName = Field(description="Turns at the local start of each.")
    time_zone: str = Field("UTC", description="IANA name; where the calendar hangs.")


class AnniversaryWindow(DocumentModel):
    """A window that turns when the subscription's anchor returns."""

    anniversary: PeriodName = Field(description="Turns each such time after the anchor.")
    time_zone: str = Field("UTC", description="IANA name; whose local time returns.")


class LengthDocument(DocumentModel):
    """How long something lasts: what is written, together."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    minutes: LengthCount | Absent = Field(None, description="Minutes of it.")
    hours: LengthCount | Absent = Field(None, description="Hours of it.")
    days: LengthCount | Absent = Field(None, description="Days of it, of 24 hours each.")


Length = Annotated[
    Annotated[LengthName, Tag(LENGTH_WORD)] | Annotated[LengthDocument, Tag("length mapping")],
    Discriminator(_length_tag),
]


class RollingWindow(DocumentModel):
    """A window that goes with now: in any span of one length."""

    rolling: Length = Field(description="The length, from 1 minute to 366 days.")


class SessionWindow(DocumentModel):
    """A window that opens at the first use."""

    session: Length = Field(description="How long one lasts, from 1 minute to 366 days.")


WindowDocument = Annotated[
    Annotated[WindowName, Tag(WINDOW_WORD)]
    | Annotated[CalendarWindow, Tag("window calendar")]
    | Annotated[AnniversaryWindow, Tag("window anniversary")]
    | Annotated[RollingWindow, Tag("window rolling")]
    | Annotated[SessionWindow, Tag("window session")],
    Discriminator(_window_tag),
]


class LimitDocument(DocumentModel):
    """A limit of a plan."""

    id: Id | Absent = Field(
        None, description="Unique within the feature; else the window's period or kind, or `held`."
    )
    limit: Annotated[
        Annotated[Amount, Tag("limit amount")]
        | Annotated[MoneyFraction, Tag("limit money")]
        | Annotated[Unlimited, Tag(LIMIT_WORD)],
        Discriminator(_limit_tag),
    ] = Field(description="Units, or money of a spend meter, in each window; or `unlimited`.")
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
        Annotated[Amount, Tag("limit amount")]
        | Annotated[MoneyFraction, Tag("limit money")]
        | Annotated[Unlimited, Tag(LIMIT_WORD)],
        Discriminator(_limit_tag),
    ] = Field(description="Units, or money, added to each window; or `unlimited`.")
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
    scope: RateScopeName = Field(
        "sidecar", description="fleet: all sidecars together; sidecar: each has the whole rate."
    )


class AddOnRateDocument(DocumentModel):
    """What an add-on adds to a plan's rate."""

    id: Id = Field(description="Which rate of the plan it adds to.")
    limit: RateAmount = Field(description="Units added to each period.")
    per: RatePeriodName | Absent = Field(
        None, description="Else the plan's; needed where a plan lacks the feature."
    )
    burst: RateAmount | Absent = Field(None, description="Units added at once; else the limit.")


class CreditDrawDocument(DocumentModel):
    """How usage is paid with credits."""

    type: Id = Field(description="The credit type that pays.")
    kind: KindName = Field(
        "hard", description="hard refuses without credits; soft goes on, and counts overage."
    )


CreditsDocument = Annotated[
    Annotated[Id, Tag("credits id")] | Annotated[CreditDrawDocument, Tag("credits draw")],
    Discriminator(_credits_tag),
]

_LIMITS_OR_RATES: Final = ConfigDict(json_schema_extra={"minProperties": 1})


class LimitsDocument(DocumentModel):
    """What a plan grants on a metered feature: limits, rates, credits or several of them."""

    model_config = _LIMITS_OR_RATES

    limits: Annotated[list[LimitDocument], Field(min_length=1, max_length=LIMITS_MAX)] | Absent = (
        Field(None, description="All of them hold at once; else there is no limit in all.")
    )
    rates: Annotated[list[RateDocument], Field(min_length=1, max_length=RATES_MAX)] | Absent = (
        Field(None, description="How fast; all of them hold at once.")
    )
    credits: CreditsDocument | Absent = Field(
        None, description="The credit type that usage is paid with; else none."
    )


class AddOnLimitsDocument(DocumentModel):
    """What an add-on adds to a metered feature: limits, rates, or the feature paid with credits."""

    model_config = _LIMITS_OR_RATES

    limits: (
        Annotated[list[AddOnLimitDocument], Field(min_length=1, max_length=LIMITS_MAX)] | Absent
    ) = Field(None, description="Added limit by limit.")
    rates: (
        Annotated[list[AddOnRateDocument], Field(min_length=1, max_length=RATES_MAX)] | Absent
    ) = Field(None, description="Added rate by rate.")
    credits: CreditsDocument | Absent = Field(
        None, description="The credit type that pays, where plans lack the feature."
    )


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
