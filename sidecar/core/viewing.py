"""What a customer has and what is used of it, as one view."""

from __future__ import annotations

from typing import NamedTuple

from sidecar.core.gate import Gate, Moment, NotLoaded
from weighbridge.rules.catalog import Catalog, Customer, Entitlement, Feature, FeatureType
from weighbridge.rules.decision import LimitState, Reason, held
from weighbridge.rules.entitlement import Grant, NoGrant
from weighbridge.rules.rate import RateState


class FeatureView(NamedTuple):
    """One feature; no entitlement means that the plan lacks it."""

    feature: Feature
    entitlement: Entitlement | None
    states: tuple[LimitState, ...]
    rates: tuple[RateState, ...] = ()


class CustomerView(NamedTuple):
    """All features of a customer or resource; a reason says why there are none."""

    customer: str
    resource: str
    reason: Reason | None
    catalog: Catalog | None
    grant: Grant | None
    snapshot_version: int
    snapshot_age_ms: int | None
    features: tuple[FeatureView, ...] = ()


def view_customer(
    gate: Gate, customer: str, resource: str, moment: Moment
) -> CustomerView | NotLoaded:
    """Return the view; NotLoaded where the customer has to be loaded first."""
    age_ms = gate.link.snapshot_age_ms(moment.boot_ms)
    resolved = gate.resolve(customer, resource, moment)
    if isinstance(resolved, NotLoaded):
        return resolved
    if isinstance(resolved, Reason):
        return CustomerView(customer, resource, resolved, None, None, 0, age_ms)
    state, compiler, grant = resolved
    version = state.customer.version
    catalog = compiler.catalog
    if isinstance(grant, NoGrant):
        return CustomerView(customer, resource, grant.reason, catalog, None, version, age_ms)
    features = tuple(
        _view_feature(gate, (state.customer, resource), feature, grant, moment)
        for feature in catalog.features.values()
    )
    return CustomerView(customer, resource, None, catalog, grant, version, age_ms, features)


def _view_feature(
    gate: Gate, owner: tuple[Customer, str], feature: Feature, grant: Grant, moment: Moment
) -> FeatureView:
    entitlement = grant.entitlements.get(feature.id)
    if entitlement is None or not entitlement.enabled:
        return FeatureView(feature, None, ())
    customer, resource = owner
    key = (resource, feature.id)
    rates = tuple(gate.rates.states(customer.id, key, entitlement.rates, moment.boot_ms))
    if feature.type is not FeatureType.METERED or not entitlement.limits:
        return FeatureView(feature, entitlement, (), rates)
    usage = gate.book.open(customer.id, key)
    states, has_new = usage.states(entitlement, grant.subscription.anchor_ms, moment.now_ms)
    compiler = gate.cache.compiler(customer.catalog)
    if has_new and compiler is not None:
        gate.window_is_new(customer, compiler)
    if feature.is_allocation:
        states = held(states)
    return FeatureView(feature, entitlement, tuple(states), rates)
