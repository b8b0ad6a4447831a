"""Features as written: one model per type. `docs/catalog.md` explains every key."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, Tag

from control_plane.catalog.document_parts import (
    Absent,
    Amount,
    CurrencyCode,
    DocumentModel,
    Id,
    Name,
)
from weighbridge.rules.thresholds import NOTIFY_AT

VALUES_MAX: Final = 256
NOTIFY_MAX: Final = 10
OF_MAX: Final = 256

Percent = Annotated[int, Field(ge=1, le=1_000)]
ConsistencyName = Literal["leased", "cached", "authoritative"]
LostLeaseName = Literal["charge", "release"]
EnforcementName = Literal["enforce", "observe"]
MeterName = Literal["sum", "allocation", "spend"]

# Tags name the alternatives of a value. They have a blank, so that no key equals one.
OUTAGE_WORD: Final = "outage word"
EXCESS_WORD: Final = "excess word"
FEATURE_TYPES: Final = ("boolean", "number", "enum", "metered")


def _outage_tag(value: Any) -> str:
    return "outage mapping" if isinstance(value, dict) else OUTAGE_WORD


def _excess_tag(value: Any) -> str:
    return "excess mapping" if isinstance(value, dict) else EXCESS_WORD


def _feature_tag(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    return f"feature {kind}" if kind in FEATURE_TYPES else "feature metered"


class SafeCapacityDocument(DocumentModel):
    """An outage policy with a bound of its own."""

    safe_capacity: Amount = Field(
        description="Units admitted per customer and feature during one outage."
    )


OutageDocument = Annotated[
    Annotated[Literal["leased", "deny", "allow", "last_known"], Tag(OUTAGE_WORD)]
    | Annotated[SafeCapacityDocument, Tag("outage mapping")],
    Discriminator(_outage_tag),
]


class OverdraftDocument(DocumentModel):
    """An overdraft with a bound."""

    overdraft: Amount = Field(description="Units charged at most beyond what was held.")


ExcessDocument = Annotated[
    Annotated[Literal["reject", "take_available", "overdraft"], Tag(EXCESS_WORD)]
    | Annotated[OverdraftDocument, Tag("excess mapping")],
    Discriminator(_excess_tag),
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
        "sum",
        description="sum counts what was used; allocation what is held now; spend what usage of "
        "other features costs.",
    )
    currency: CurrencyCode | Absent = Field(
        None, description="Of a spend meter: the currency of its limits, and of the prices counted."
    )
    of: Annotated[list[Id], Field(min_length=1, max_length=OF_MAX)] | Absent = Field(
        None, description="Of a spend meter: the features whose usage it counts; else all."
    )
    consistency: ConsistencyName = Field(
        "leased",
        description="leased and authoritative never overshoot a hard limit; cached decides from "
        "totals.",
    )
    lost_lease: LostLeaseName | Absent = Field(
        None,
        description="What becomes of units of a sidecar that stays away: charge (else) counts "
        "them as spent, release gives them to others.",
    )
    outage: OutageDocument | Absent = Field(
        None,
        description="What is answered while the control plane is away; else leased where the "
        "feature is, last_known where it is cached, and deny where it is authoritative.",
    )
    excess: ExcessDocument = Field(
        "overdraft", description="What becomes of usage beyond what a reservation held."
    )
    enforcement: EnforcementName = Field("enforce", description=ENFORCEMENT)
    notify_at: Annotated[list[Percent], Field(max_length=NOTIFY_MAX)] = Field(
        default_factory=lambda: list(NOTIFY_AT),
        description="Webhooks tell when so many percent of a limit are used.",
    )


FeatureDocument = Annotated[
    Annotated[BooleanFeature, Tag("feature boolean")]
    | Annotated[NumberFeature, Tag("feature number")]
    | Annotated[EnumFeature, Tag("feature enum")]
    | Annotated[MeteredFeature, Tag("feature metered")],
    Discriminator(_feature_tag),
]
