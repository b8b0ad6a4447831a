"""Views of a customer: from values to protobuf."""

from __future__ import annotations

from sidecar.core.viewing import CustomerView, FeatureView
from sidecar.wire.decision import (
    REASONS,
    feature_type_to_proto,
    limit_usage_to_proto,
    rate_usage_to_proto,
)
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
    return message


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
    return message
