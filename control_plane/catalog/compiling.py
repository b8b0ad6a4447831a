"""A validated document to an immutable catalog: inheritance resolved, defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

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
    OutageDocument,
    SafeCapacityDocument,
)
from control_plane.catalog.grant_document import (
    AddOnGrant,
    AddOnLimitDocument,
    AddOnLimitsDocument,
    AddOnRateDocument,
    AnniversaryWindow,
    CalendarWindow,
    Grant,
    Length,
    LengthDocument,
    LimitDocument,
    LimitsDocument,
    RateDocument,
    RollingWindow,
    SessionWindow,
    WindowDocument,
)
from control_plane.catalog.price_compiling import compile_prices, proration_of, resolve_prices
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
from weighbridge.rules.rate import Rate, RatePeriod
from weighbridge.rules.window import DAY_MS, HOUR_MS, MINUTE_MS, Period, Window, WindowKind

Entitlements = Mapping[str, Entitlement]

HELD: Final = "held"

# From the package and not from the machine, so that a document is valid everywhere or nowhere.
TIME_ZONES: Final = frozenset(files("tzdata").joinpath("zones").read_text("ascii").split())


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
            limits=tuple(_limit(written) for written in grant.limits or ()),
            rates=tuple(_rate(written) for written in grant.rates or ()),
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


def _limit(written: LimitDocument) -> Limit:
    return Limit(
        id=limit_id(written),
        kind=LimitKind(written.kind),
        limit=_number(written.limit),
        window=window_of(written.window),
        per_seat=written.per_seat,
    )


def _rate(written: RateDocument) -> Rate:
    burst = written.limit if written.burst is None else written.burst
    return Rate(rate_id(written), written.limit, RatePeriod(written.per), burst)


def rate_id(written: RateDocument) -> str:
    """Return a rate's id: its own, else such as `per_second`, which no limit is called."""
    return f"per_{written.per}" if written.id is None else written.id


def limit_id(written: LimitDocument) -> str:
    """Return a limit's id: its own, else the name of its period, or `held`."""
    if written.id is not None:
        return written.id
    if isinstance(written.window, CalendarWindow):
        return written.window.calendar
    if isinstance(written.window, AnniversaryWindow):
        return written.window.anniversary
    if isinstance(written.window, RollingWindow | SessionWindow):
        return window_of(written.window).kind.value
    return written.window or HELD


def window_of(written: WindowDocument | None) -> Window:
    """Return a window with its time-zone object. The time zone is one of `TIME_ZONES`.

    What is held now has none written: all that was ever acquired and released counts.
    """
    if isinstance(written, CalendarWindow):
        return _window(WindowKind.CALENDAR, written.calendar, written.time_zone)
    if isinstance(written, AnniversaryWindow):
        return _window(WindowKind.ANNIVERSARY, written.anniversary, written.time_zone)
    if isinstance(written, RollingWindow):
        return Window(WindowKind.ROLLING, length_ms=length_ms(written.rolling))
    if isinstance(written, SessionWindow):
        return Window(WindowKind.SESSION, length_ms=length_ms(written.session))
    if written in (None, "lifetime"):
        return Window(WindowKind.LIFETIME)
    return _window(WindowKind.CALENDAR, written, "UTC")


def length_ms(written: Length) -> int:
    """Return a length, which may be one that no window can have."""
    if not isinstance(written, LengthDocument):
        return {"hour": HOUR_MS, "day": DAY_MS, "week": 7 * DAY_MS}[written]
    minutes, hours, days = written.minutes or 0, written.hours or 0, written.days or 0
    return minutes * MINUTE_MS + hours * HOUR_MS + days * DAY_MS


def _window(kind: WindowKind, period: str, time_zone: str) -> Window:
    zone = UTC if time_zone == "UTC" else ZoneInfo(time_zone)
    return Window(kind, Period(period), time_zone, zone)


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
        limits=tuple(_added_limit(each, limits.get(each.id)) for each in grant.limits or ()),
        rates=tuple(_added_rate(each, rates.get(each.id)) for each in grant.rates or ()),
    )


def _added_limit(written: AddOnLimitDocument, of_plan: Limit | None) -> Limit:
    """Return a limit to add: kind and window are its own, else those of the plan's limit."""
    if of_plan is not None:
        kind, window = of_plan.kind, of_plan.window
    else:
        kind, window = LimitKind(written.kind or "hard"), window_of(written.window)
    return Limit(written.id, kind, _number(written.limit), window)


def _added_rate(written: AddOnRateDocument, of_plan: Rate | None) -> Rate:
    """Return a rate to add: its period is that of the plan's rate, else its own."""
    if of_plan is not None:
        period = of_plan.period
    else:
        assert written.per is not None
        period = RatePeriod(written.per)
    burst = written.limit if written.burst is None else written.burst
    return Rate(written.id, written.limit, period, burst)


def _number(written: int | str) -> int | None:
    return written if isinstance(written, int) else None


def _feature(id_: str, written: FeatureDocument) -> Feature:
    return Feature(
        id=id_,
        type=FeatureType(written.type),
        name=written.name or id_,
        unit=(written.unit or "") if isinstance(written, NumberFeature | MeteredFeature) else "",
        values=tuple(written.values) if isinstance(written, EnumFeature) else (),
        outage=_outage(written.outage) if isinstance(written, MeteredFeature) else OutagePolicy(),
        enforcement=Enforcement(written.enforcement),
        meter=Meter(written.meter) if isinstance(written, MeteredFeature) else Meter.SUM,
    )


def _outage(written: OutageDocument) -> OutagePolicy:
    if isinstance(written, SafeCapacityDocument):
        return OutagePolicy(OutageKind.SAFE_CAPACITY, written.safe_capacity)
    return OutagePolicy(OutageKind(written))


def _trial(written: TrialDocument | None) -> Trial | None:
    if written is None:
        return None
    return Trial(written.days, "" if written.at_end == CANCEL else written.at_end)


def _offer(written: OfferDocument) -> UpgradeOffer:
    return UpgradeOffer(written.message, written.url or "")
