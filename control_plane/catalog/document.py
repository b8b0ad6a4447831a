"""The catalog document as written: one model per mapping. `docs/catalog.md` explains every key.

Unknown keys are refused, and nothing is coerced: "5" is no number, 1 is no boolean.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from control_plane.catalog.credit_document import (
    CREDIT_TYPES_MAX,
    CreditGrants,
    CreditTypeDocument,
    TopUps,
)
from control_plane.catalog.document_parts import URL_PATTERN, Absent, DocumentModel, Id, Name
from control_plane.catalog.feature_document import FeatureDocument
from control_plane.catalog.grant_document import AddOnGrant, Grant
from control_plane.catalog.partner_document import PARTNER_APPS_MAX, PartnerAppDocument
from control_plane.catalog.price_document import PricesDocument
from weighbridge.rules.units import TRIAL_DAYS_MAX

FEATURES_MAX: Final = 1_000
PLANS_MAX: Final = 200
ADD_ONS_MAX: Final = 200
CANCEL: Final = "cancel"

ProrationName = Literal["time", "difference", "none"]


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
    credit_grants: CreditGrants | Absent = Field(
        None, description="Credits that it comes with; else those of the plan it extends."
    )
    top_ups: TopUps | Absent = Field(
        None, description="Credits bought when few are left; else as the plan it extends."
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
        default_factory=dict,
        description="What it adds, by feature; needed unless it has prices or credits.",
    )
    prices: Annotated[PricesDocument, Field(min_length=1)] | Absent = Field(
        None, description="What it costs, by currency."
    )
    credit_grants: CreditGrants = Field(
        default_factory=list, description="Credits that each piece of it brings."
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
    default_plan: Id | Absent = Field(
        None, description="The plan of customers nobody provisioned; else they are unknown."
    )
    add_ons: Annotated[dict[Id, AddOnDocument], Field(max_length=ADD_ONS_MAX)] = Field(
        default_factory=dict, description="What can be bought on top of a plan, by id."
    )
    credit_types: Annotated[dict[Id, CreditTypeDocument], Field(max_length=CREDIT_TYPES_MAX)] = (
        Field(default_factory=dict, description="Kinds of credits, and what usage costs of them.")
    )
    partner_apps: Annotated[dict[Id, PartnerAppDocument], Field(max_length=PARTNER_APPS_MAX)] = (
        Field(default_factory=dict, description="Apps of partners, by id.")
    )


def catalog_schema() -> dict[str, Any]:
    """Return the JSON Schema of a catalog document, for editors."""
    schema = CatalogDocument.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Weighbridge catalog",
    }
