"""Views of a customer: from values to protobuf."""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.core.viewing import CustomerView, FeatureView
from sidecar.wire.credit_view import credit_grant_to_proto, credit_unit_to_proto, draw_to_proto
from sidecar.wire.decision import (
    REASONS,
    feature_type_to_proto,
    limit_usage_to_proto,
    rate_usage_to_proto,
)
from weighbridge.rules.catalog import Catalog
from weighbridge.rules.credits import CreditGrant
from weighbridge.v1 import types_pb2 as pb


def view_to_proto(view: CustomerView) -> pb.CustomerEntitlements:
    """Return the entitlements of a customer or resource."""
    message = pb.CustomerEntitlements(
        customer=view.customer,
        resource=view.resource,
        snapshot_version=view.snapshot_version,
        snapshot_age_ms=view.snapshot_age_ms,
        features=[_feature_to_proto(feature) for feature in view.features],
    )
    if view.reason is not None:
        message.reason = REASONS[view.reason]
    if view.catalog is not None:
        message.catalog = view.catalog.id
        message.catalog_version = view.catalog.version
    if view.grant is not None:
        message.plan = view.grant.plan.plan
        message.plan_version = view.grant.plan.version
        message.inherited_from = view.grant.inherited_from
    message.limited_by = view.limited_by
    if view.catalog is not None and view.grant is not None:
        _add_credits(message, view.catalog, view.credit_grants)
    return message


def _add_credits(
    message: pb.CustomerEntitlements, catalog: Catalog, grants: Iterable[CreditGrant]
) -> None:
    message.credit_grants.extend(credit_grant_to_proto(grant) for grant in grants)
    named = {grant.credit_type for grant in message.credit_grants}
    named |= {each.credits.credit_type for each in message.features if each.HasField("credits")}
    message.credit_units.extend(
        credit_unit_to_proto(each) for id_, each in catalog.credit_types.items() if id_ in named
    )


def _feature_to_proto(view: FeatureView) -> pb.FeatureEntitlement:
    feature, entitlement = view.feature, view.entitlement
    message = pb.FeatureEntitlement(
        feature=feature.id, type=feature_type_to_proto(feature.type), unit=feature.unit
    )
    if entitlement is not None:
        message.enabled = True
        if entitlement.number is not None:
            message.number = entitlement.number
        message.values.extend(entitlement.values)
        message.limits.extend(limit_usage_to_proto(state) for state in view.states)
        message.rates.extend(rate_usage_to_proto(state) for state in view.rates)
        for counted in view.counted:
            ancestor = counted.level.customer
            message.limits.extend(limit_usage_to_proto(state, ancestor) for state in counted.states)
            message.rates.extend(rate_usage_to_proto(state, ancestor) for state in counted.rates)
        if entitlement.credit is not None:
            message.credits.CopyFrom(draw_to_proto(entitlement.credit))
    return message
