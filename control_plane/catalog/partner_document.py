"""Partner apps as written. `docs/catalog.md` explains every key."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from control_plane.catalog.document_parts import (
    Absent,
    Amount,
    CurrencyCode,
    DocumentModel,
    Id,
    Name,
    Percent,
    Price,
)
from control_plane.catalog.grant_document import LIMITS_MAX, KindName, WindowDocument, WindowName
from weighbridge.rules.rating.tiers import TIERS_MAX

PARTNER_APPS_MAX: Final = 1_000
PERMISSIONS_MAX: Final = 1_000
SHARES_MAX: Final = 64


class QuotaLimitDocument(DocumentModel):
    """A limit on what a partner app uses."""

    id: Id | Absent = Field(None, description="Unique in its list; else the period's name.")
    limit: Amount = Field(description="Units in each window.")
    kind: KindName = Field("hard", description="hard refuses past it; soft counts overage.")
    window: WindowDocument = Field(description="When usage starts from zero.")


QuotaLimits = Annotated[list[QuotaLimitDocument], Field(max_length=LIMITS_MAX)]


class PartnerQuotaDocument(DocumentModel):
    """How much of a metered feature a partner app may use."""

    per_customer: QuotaLimits = Field(
        default_factory=list, description="Limits inside each customer."
    )
    total: QuotaLimits = Field(
        default_factory=list, description="Limits for all its customers together."
    )


class ShareTierDocument(DocumentModel):
    """A tier of a share."""

    above: Price | Absent = Field(
        None, description="Where the tier before ends; for readers, and checked."
    )
    up_to: Price | Absent = Field(
        None, description="Where the tier ends; the last tier leaves it out."
    )
    platform_percent: Percent = Field(description="What the platform keeps; the rest is theirs.")


class RevenueShareDocument(DocumentModel):
    """How money in one currency is shared."""

    of: Literal["sales", "usage"] = Field(
        description="sales: what the partner sells; usage: what customers pay for usage by the app."
    )
    currency: CurrencyCode = Field(description="The currency of the money and of every amount.")
    platform_percent: Percent | Absent = Field(
        None, description="What the platform keeps; the rest is the partner's."
    )
    tiers: (
        Annotated[list[ShareTierDocument], Field(min_length=1, max_length=TIERS_MAX)] | Absent
    ) = Field(None, description="Instead: each part of the volume by the tier it lies in.")
    window: WindowName = Field("month", description="In each, the volume counts from zero.")
    fixed_per_transaction: Price | Absent = Field(
        None, description="What the platform keeps of each sale beside that."
    )


class PartnerAppDocument(DocumentModel):
    """An app of a partner."""

    name: Name | Absent = Field(None, description="What people read; else the id.")
    permissions: Annotated[list[Id], Field(max_length=PERMISSIONS_MAX)] = Field(
        default_factory=list, description="The features that it may use."
    )
    quotas: dict[Id, PartnerQuotaDocument] = Field(
        default_factory=dict, description="How much of them, by feature."
    )
    shares: Annotated[list[RevenueShareDocument], Field(max_length=SHARES_MAX)] = Field(
        default_factory=list, description="How money is shared."
    )
