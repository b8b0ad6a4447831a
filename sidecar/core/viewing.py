"""What a customer has and what is used of it, as one view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sidecar.core.counting import Counted
from sidecar.core.decided import NotLoaded
from sidecar.core.gate import Gate
from sidecar.core.holding import Owned, with_holds
from sidecar.core.moment import Moment
from weighbridge.rules.catalog import Catalog, Customer, Entitlement, Feature, FeatureType
from weighbridge.rules.credits import CreditGrant, grants_bought
from weighbridge.rules.decision import LimitState, Reason, held
from weighbridge.rules.granting import Grant, NoGrant, bounded
from weighbridge.rules.rate import RateState


class FeatureView(NamedTuple):
    """One feature; no entitlement means that the plan, or that of one above it, lacks it.

    `states` and `rates` are the customer's own, `counted` those of its ancestors.
    """

    feature: Feature
    entitlement: Entitlement | None
    states: tuple[LimitState, ...]
    rates: tuple[RateState, ...] = ()
    counted: tuple[Counted, ...] = ()


class CustomerView(NamedTuple):
    """All features of a customer or resource; a reason says why there are none.

    `limited_by` names the ancestor that is the reason.
    """

    customer: str
    resource: str
    reason: Reason | None
    catalog: Catalog | None
    grant: Grant | None
    snapshot_version: int
    snapshot_age_ms: int | None
    features: tuple[FeatureView, ...] = ()
    limited_by: str = ""
    ancestors: tuple[str, ...] = ()
    credit_grants: tuple[CreditGrant, ...] = ()


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
    view = CustomerView(customer, resource, None, catalog, None, version, age_ms)
    view = view._replace(ancestors=state.ancestors)
    if isinstance(grant, NoGrant):
        return view._replace(reason=grant.reason, limited_by=grant.limited_by)
    features = tuple(
        _view_feature(gate, (state.customer, resource), feature, grant, moment)
        for feature in catalog.features.values()
    )
    granted = _granted(catalog, grant)
    return view._replace(grant=grant, features=features, credit_grants=granted)


def _granted(catalog: Catalog, grant: Grant) -> tuple[CreditGrant, ...]:
    """Return the credits that plan and add-ons come with, as often as bought."""
    bought = [
        (add_on.credit_grants, item.quantity)
        for item in grant.subscription.add_ons
        if (add_on := catalog.add_ons.get(item.add_on)) is not None
    ]
    return grants_bought(grant.plan.credit_grants, bought, grant.subscription.quantity)


def _view_feature(
    gate: Gate, owner: tuple[Customer, str], feature: Feature, grant: Grant, moment: Moment
) -> FeatureView:
    bounds = bounded(grant, feature.id)
    entitlement = bounds.entitlement
    if entitlement is None:
        return FeatureView(feature, None, ())
    if feature.type is not FeatureType.METERED:
        return FeatureView(feature, entitlement, ())
    customer, resource = owner
    key = (resource, feature.id)
    rates = tuple(gate.rates.states(customer.id, key, entitlement.rates, moment.boot_ms))
    counted = tuple(gate.counted_above(bounds, feature, moment))
    states: Sequence[LimitState] = ()
    if entitlement.limits:
        usage = gate.book.open(customer.id, key)
        states, has_new = usage.states(entitlement, grant.subscription.anchor_ms, moment.now_ms)
        compiler = gate.cache.compiler(customer.catalog)
        if has_new and compiler is not None:
            gate.window_is_new(customer, compiler)
        if feature.is_allocation:
            states = held(states)
    owned = [Owned(customer.id, key, states)]
    owned += [Owned(each.level.customer, ("", feature.id), each.states) for each in counted]
    if len(gate.reservations):
        owned = with_holds(gate.reservations, owned, moment.now_ms)
    above = zip(counted, owned[1:], strict=True)
    counted = tuple(each._replace(states=of_level.states) for each, of_level in above)
    return FeatureView(feature, entitlement, tuple(owned[0].states), rates, counted)
