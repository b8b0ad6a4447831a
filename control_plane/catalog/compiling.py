"""A validated document to an immutable catalog: inheritance resolved, defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.catalog.credit_compiling import (
    compile_credit_grants,
    compile_credit_types,
    compile_top_ups,
    credit_draw,
    resolve_credit_grants,
    resolve_top_ups,
)
from control_plane.catalog.document import (
    CANCEL,
    AddOnDocument,
    CatalogDocument,
    OfferDocument,
    TrialDocument,
)
from control_plane.catalog.feature_document import (
    EnumFeature,
    FeatureDocument,
    MeteredFeature,
    NumberFeature,
    OverdraftDocument,
    SafeCapacityDocument,
)
from control_plane.catalog.grant_document import (
    AddOnGrant,
    AddOnLimitDocument,
    AddOnLimitsDocument,
    AddOnRateDocument,
    Grant,
    LimitDocument,
    LimitsDocument,
    RateDocument,
)
from control_plane.catalog.partner_compiling import compile_partner_apps
from control_plane.catalog.price_compiling import compile_prices, proration_of, resolve_prices
from control_plane.catalog.spend_compiling import limit_number, spend_feature
from control_plane.catalog.window_compiling import limit_id, window_of
from weighbridge.rules.catalog import (
    AddOn,
    Catalog,
    Enforcement,
    Entitlement,
    Feature,
    FeatureType,
    Limit,
    LimitKind,
    Meter,
    OutageKind,
    OutagePolicy,
    PlanVersion,
    Trial,
    UpgradeOffer,
)
from weighbridge.rules.lease import Consistency, LostLease
from weighbridge.rules.rate import Rate, RatePeriod, RateScope
from weighbridge.rules.reservation import OVERDRAFT, ExcessKind, ExcessPolicy
from weighbridge.rules.thresholds import NOTIFY_AT

Entitlements = Mapping[str, Entitlement]


def compile_catalog(
    document: CatalogDocument, version: int, plan_versions: Mapping[str, int] | None = None
) -> Catalog:
    """Compile a document of `load_document` as that version of its catalog.

    Each plan is there in one version: its number in `plan_versions`, else 1.
    """
    numbers = plan_versions or {}
    features = {id_: _feature(id_, written) for id_, written in document.features.items()}
    resolved = resolve_plans(document)
    prices = resolve_prices(document)
    credit_grants, top_ups = resolve_credit_grants(document), resolve_top_ups(document)
    plans = {
        id_: PlanVersion(
            plan=id_,
            version=numbers.get(id_, 1),
            name=written.name or id_,
            entitlements=resolved[id_],
            upgrades_to=tuple(written.upgrades_to),
            offer=_offer(written.offer),
            prices=compile_prices(prices[id_][1]),
            proration=proration_of(document, id_),
            trial=_trial(written.trial),
            credit_grants=compile_credit_grants(credit_grants[id_][1]),
            top_ups=compile_top_ups(top_ups[id_][1]),
        )
        for id_, written in document.plans.items()
    }
    return Catalog(
        id=document.catalog,
        version=version,
        features=features,
        plans={id_: {plan.version: plan} for id_, plan in plans.items()},
        add_ons={
            id_: _add_on(id_, written, document, resolved)
            for id_, written in document.add_ons.items()
        },
        default_plan=document.default_plan or "",
        credit_types=compile_credit_types(document),
        partner_apps=compile_partner_apps(document),
    )


def resolve_plans(document: CatalogDocument) -> dict[str, Entitlements]:
    """Return what each plan grants, with what it inherits. `extends` has no cycle here.

    What a plan takes away is left out. Entitlements stand in the order of the features, and so do
    an enum's values, so that documents that mean the same compile to the same.
    """
    resolved: dict[str, Entitlements] = {}
    for id_ in document.plans:
        line = [id_]
        while (parent := document.plans[line[-1]].extends) is not None and parent not in resolved:
            line.append(parent)
        for plan in reversed(line):
            above = document.plans[plan].extends
            resolved[plan] = _inherit({} if above is None else resolved[above], document, plan)
    return resolved


def _inherit(above: Entitlements, document: CatalogDocument, plan: str) -> Entitlements:
    own = document.plans[plan].features
    granted: dict[str, Entitlement] = {}
    for id_, feature in document.features.items():
        is_own = id_ in own
        entitlement = _entitlement(id_, feature, own[id_]) if is_own else above.get(id_)
        if entitlement is not None:
            granted[id_] = entitlement
    return granted


def _entitlement(id_: str, feature: FeatureDocument, grant: Grant) -> Entitlement | None:
    """Return what a plan grants; None where it takes the feature away."""
    if grant is False:
        return None
    if isinstance(grant, LimitsDocument):
        return Entitlement(
            id_,
            limits=tuple(_limit(written, feature) for written in grant.limits or ()),
            rates=tuple(_rate(written) for written in grant.rates or ()),
            credit=credit_draw(grant.credits),
        )
    return _plain_entitlement(id_, feature, grant)


def _plain_entitlement(
    id_: str, feature: FeatureDocument, grant: int | str | list[str]
) -> Entitlement:
    """Return what grants that are no limits mean: a switch, number, values or `unlimited`."""
    if isinstance(feature, EnumFeature):
        granted = grant if isinstance(grant, list) else ()
        return Entitlement(id_, values=tuple(each for each in feature.values if each in granted))
    if isinstance(grant, int) and not isinstance(grant, bool):
        return Entitlement(id_, number=grant)
    return Entitlement(id_)


def _limit(written: LimitDocument, feature: FeatureDocument) -> Limit:
    return Limit(
        id=limit_id(written),
        kind=LimitKind(written.kind),
        limit=limit_number(written.limit, feature),
        window=window_of(written.window),
        per_seat=written.per_seat,
    )


def _rate(written: RateDocument) -> Rate:
    burst = written.limit if written.burst is None else written.burst
    period, scope = RatePeriod(written.per), RateScope(written.scope)
    return Rate(rate_id(written), written.limit, period, burst, scope)


def rate_id(written: RateDocument) -> str:
    """Return a rate's id: its own, else such as `per_second`, which no limit is called."""
    return f"per_{written.per}" if written.id is None else written.id


def _add_on(
    id_: str,
    written: AddOnDocument,
    document: CatalogDocument,
    resolved: Mapping[str, Entitlements],
) -> AddOn:
    return AddOn(
        id=id_,
        name=written.name or id_,
        entitlements=add_on_entitlements(written, document, resolved),
        plans=tuple(written.plans or ()),
        offer=_offer(written.offer),
        prices=compile_prices(written.prices),
        credit_grants=compile_credit_grants(written.credit_grants),
    )


def add_on_entitlements(
    written: AddOnDocument, document: CatalogDocument, resolved: Mapping[str, Entitlements]
) -> Entitlements:
    """Return what an add-on adds, given what the plans grant. Its limits are sound here."""
    # Sorted, so that the order in which plans are written decides nothing.
    suited = sorted(suited_plans(written, document))
    entitlements = {}
    for feature_id, feature in document.features.items():
        if feature_id in written.features:
            plans = [resolved[plan].get(feature_id) for plan in suited]
            entitlements[feature_id] = _addition(
                feature_id,
                feature,
                written.features[feature_id],
                [plan for plan in plans if plan is not None],
            )
    return entitlements


def suited_plans(add_on: AddOnDocument, document: CatalogDocument) -> list[str]:
    """List the plans that an add-on can be added to."""
    return list(document.plans) if add_on.plans is None else add_on.plans


def _addition(
    id_: str, feature: FeatureDocument, grant: AddOnGrant, of_plans: list[Entitlement]
) -> Entitlement:
    """Return what an add-on adds, given what its plans grant on the feature."""
    if not isinstance(grant, AddOnLimitsDocument):
        return _plain_entitlement(id_, feature, grant)
    limits: dict[str, Limit] = {}
    rates: dict[str, Rate] = {}
    for entitlement in of_plans:
        for limit in entitlement.limits:
            limits.setdefault(limit.id, limit)
        for rate in entitlement.rates:
            rates.setdefault(rate.id, rate)
    return Entitlement(
        id_,
        limits=tuple(
            _added_limit(each, feature, limits.get(each.id)) for each in grant.limits or ()
        ),
        rates=tuple(_added_rate(each, rates.get(each.id)) for each in grant.rates or ()),
        credit=credit_draw(grant.credits),
    )


def _added_limit(
    written: AddOnLimitDocument, feature: FeatureDocument, of_plan: Limit | None
) -> Limit:
    """Return a limit to add: kind and window are its own, else those of the plan's limit."""
    if of_plan is not None:
        kind, window = of_plan.kind, of_plan.window
    else:
        kind, window = LimitKind(written.kind or "hard"), window_of(written.window)
    return Limit(written.id, kind, limit_number(written.limit, feature), window)


def _added_rate(written: AddOnRateDocument, of_plan: Rate | None) -> Rate:
    """Return a rate to add: period and scope are those of the plan's rate, else its own."""
    burst = written.limit if written.burst is None else written.burst
    if of_plan is not None:
        return Rate(written.id, written.limit, of_plan.period, burst, of_plan.scope)
    assert written.per is not None
    return Rate(written.id, written.limit, RatePeriod(written.per), burst)


def _feature(id_: str, written: FeatureDocument) -> Feature:
    if isinstance(written, MeteredFeature) and written.currency is not None:
        return spend_feature(id_, written)
    return Feature(
        id=id_,
        type=FeatureType(written.type),
        name=written.name or id_,
        unit=(written.unit or "") if isinstance(written, NumberFeature | MeteredFeature) else "",
        values=tuple(written.values) if isinstance(written, EnumFeature) else (),
        outage=_outage(written) if isinstance(written, MeteredFeature) else OutagePolicy(),
        enforcement=Enforcement(written.enforcement),
        consistency=(
            Consistency(written.consistency)
            if isinstance(written, MeteredFeature)
            else Consistency.CACHED
        ),
        meter=Meter(written.meter) if isinstance(written, MeteredFeature) else Meter.SUM,
        excess=_excess(written) if isinstance(written, MeteredFeature) else OVERDRAFT,
        notify_at=(
            tuple(sorted(set(written.notify_at)))
            if isinstance(written, MeteredFeature)
            else NOTIFY_AT
        ),
        lost_lease=_lost_lease(written),
    )


def _lost_lease(feature: FeatureDocument) -> LostLease:
    written = feature.lost_lease if isinstance(feature, MeteredFeature) else None
    return LostLease.CHARGE if written is None else LostLease(written)


def _excess(feature: MeteredFeature) -> ExcessPolicy:
    written = feature.excess
    if isinstance(written, OverdraftDocument):
        return ExcessPolicy(ExcessKind.OVERDRAFT, written.overdraft)
    return ExcessPolicy(ExcessKind(written))


_OUTAGES: Final = {
    Consistency.LEASED: OutageKind.LEASED,
    Consistency.CACHED: OutageKind.LAST_KNOWN,
    Consistency.AUTHORITATIVE: OutageKind.DENY,
}


def _outage(feature: MeteredFeature) -> OutagePolicy:
    written = feature.outage
    if written is None:
        return OutagePolicy(_OUTAGES[Consistency(feature.consistency)])
    if isinstance(written, SafeCapacityDocument):
        return OutagePolicy(OutageKind.SAFE_CAPACITY, written.safe_capacity)
    return OutagePolicy(OutageKind(written))


def _trial(written: TrialDocument | None) -> Trial | None:
    if written is None:
        return None
    return Trial(written.days, "" if written.at_end == CANCEL else written.at_end)


def _offer(written: OfferDocument) -> UpgradeOffer:
    return UpgradeOffer(written.message, written.url or "")
