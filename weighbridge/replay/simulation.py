"""One catalog, and everybody in a trace on it: decided as a sidecar would, charged as a bill.

A simulated customer has one subscription that never ends. Memory grows with customers and their
features, not with events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sidecar.core.rates import RateBuckets, Used
from sidecar.core.usage import FeatureUsage, Position
from weighbridge.replay.bill import Bill
from weighbridge.replay.event import Dimensions, Event
from weighbridge.replay.pricing import Compiled, PlanPricing, plan_pricing
from weighbridge.rules.catalog import (
    Catalog,
    Customer,
    CustomerStatus,
    Entitlement,
    FeatureType,
    PlanVersion,
    Subscription,
    SubscriptionStatus,
)
from weighbridge.rules.decision import LimitState, Verdict
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.granting import Grant, NoGrant, grant_of
from weighbridge.rules.judging import Asked, Judged, judge
from weighbridge.rules.rate import Rate, RateState
from weighbridge.rules.rating.charge import Charge

_SETTLE_EVERY = 256


@dataclass(frozen=True, slots=True)
class Terms:
    """How customers are subscribed, and what a row of usage is.

    No `anchor_ms`: from their first usage. `currency` "": the only one. `is_apart`: what a row asks
    is decided each by itself; else the row is one call, refused whole where a part of it is.
    """

    anchor_ms: int | None = None
    seats: int = 1
    currency: str = ""
    is_apart: bool = False


class Simulation:
    """A catalog and its customers."""

    def __init__(
        self, catalog: Catalog, terms: Terms, on_charge: Callable[[str, Charge], None]
    ) -> None:
        """Tell `on_charge` of each customer's charges, as its billing periods end."""
        self.catalog = catalog
        self._compiler = PlanCompiler(catalog)
        self._terms = terms
        self._on_charge = on_charge
        self._customers: dict[str, _Customer] = {}
        self._pricings: dict[str, PlanPricing | None] = {}
        self._buckets = RateBuckets()

    def pricing(self, plan: str) -> PlanPricing | None:
        """Return what a plan is charged by; None where it has no prices, or is not there.

        Raises InvalidArgumentError: see `plan_pricing`.
        """
        if plan not in self._pricings:
            version = self.catalog.plan(plan)
            self._pricings[plan] = None if version is None else self._priced(version)
        return self._pricings[plan]

    def take(self, event: Event, now_ms: int) -> list[Verdict]:
        """Decide an event at an instant, not before that customer's last; charge what passes."""
        customer = self._customers.get(event.customer)
        if customer is None:
            customer = self._customers[event.customer] = self._subscribe(event, now_ms)
        grant = customer.grant(self._compiler, now_ms)
        judged = [
            judge(self.catalog, grant, asked, customer.meter(asked.feature, now_ms), now_ms)
            for asked in event.asked
        ]
        verdicts = [each.verdict for each in judged]
        refusal = next((verdict for verdict in verdicts if not verdict.allowed), None)
        if refusal is not None and not self._terms.is_apart:
            return [refusal if verdict.allowed else verdict for verdict in verdicts]
        for asked, each in zip(event.asked, judged, strict=True):
            if each.verdict.allowed and self._is_metered(asked):
                customer.use(asked, each, event.dimensions, now_ms)
        return verdicts

    def finish(self, at_ms: int) -> None:
        """Charge every customer up to the billing periods that hold the instant."""
        for customer in self._customers.values():
            customer.finish(at_ms)

    def _priced(self, plan: PlanVersion) -> PlanPricing | None:
        seats = self._terms.seats
        compiled = Compiled(self._compiler.entitlements(plan, (), seats), seats)
        return plan_pricing(self.catalog, plan, compiled, self._terms.currency)

    def _is_metered(self, asked: Asked) -> bool:
        feature = self.catalog.features.get(asked.feature)
        return feature is not None and feature.type is FeatureType.METERED

    def _subscribe(self, event: Event, now_ms: int) -> _Customer:
        anchor_ms = now_ms if self._terms.anchor_ms is None else self._terms.anchor_ms
        subscription = Subscription(
            id="replayed",
            resource="",
            plan=event.plan,
            plan_version=None,
            add_ons=(),
            status=SubscriptionStatus.ACTIVE,
            anchor_ms=anchor_ms,
            starts_at_ms=0,
            quantity=self._terms.seats,
        )
        name = event.customer
        customer = Customer(
            name, 1, CustomerStatus.ACTIVE, self.catalog.id, subscriptions=(subscription,)
        )
        pricing = self.pricing(event.plan)
        if pricing is None:
            return _Customer(customer, self._buckets, None)
        bill = Bill(pricing, anchor_ms, now_ms, lambda charge: self._on_charge(name, charge))
        return _Customer(customer, self._buckets, bill)


class _Customer:
    """One customer's grant, usage and bill."""

    __slots__ = ("_bill", "_buckets", "_customer", "_grant", "_meters")

    def __init__(self, customer: Customer, buckets: RateBuckets, bill: Bill | None) -> None:
        self._customer = customer
        self._buckets = buckets
        self._bill = bill
        self._grant: Grant | NoGrant | None = None
        self._meters: dict[str, _Meter] = {}

    def grant(self, compiler: PlanCompiler, now_ms: int) -> Grant | NoGrant:
        grant = self._grant
        if grant is None or (grant.changes_at_ms is not None and now_ms >= grant.changes_at_ms):
            grant = self._grant = grant_of(compiler, self._customer, "", now_ms)
        return grant

    def meter(self, feature: str, now_ms: int) -> _Meter:
        meter = self._meters.get(feature)
        if meter is None:
            meter = self._meters[feature] = _Meter(self._customer.id, feature, self._buckets)
        meter.now_ms = now_ms
        return meter

    def use(self, asked: Asked, judged: Judged, dimensions: Dimensions, now_ms: int) -> None:
        self._meters[asked.feature].use(asked.units, judged)
        if self._bill is not None:
            self._bill.add(asked.feature, dimensions, asked.units, now_ms)

    def finish(self, at_ms: int) -> None:
        if self._bill is not None:
            self._bill.finish(at_ms)


class _Meter:
    """What one customer used of one feature, in the counters and buckets that sidecars use."""

    __slots__ = ("_buckets", "_customer", "_key", "_recorded", "_usage", "now_ms")

    def __init__(self, customer: str, feature: str, buckets: RateBuckets) -> None:
        self._customer = customer
        self._key = ("", feature)
        self._buckets = buckets
        self._usage: FeatureUsage | None = None
        self._recorded = 0
        self.now_ms = 0

    def states(
        self, customer: str, entitlement: Entitlement, anchor_ms: int
    ) -> Sequence[LimitState]:
        if self._usage is None:
            self._usage = FeatureUsage()
        return self._usage.states(entitlement, anchor_ms, self.now_ms)[0]

    def rates(self, customer: str, rates: Sequence[Rate]) -> Sequence[RateState]:
        return self._buckets.states(self._customer, self._key, rates, self.now_ms)

    def use(self, amount: int, judged: Judged) -> None:
        for _, rates in judged.takes:
            self._buckets.take(self._customer, self._key, rates, Used(amount, self.now_ms))
        usage = self._usage
        # As with sidecars, usage of nothing opens no session.
        if usage is None or not amount:
            return
        self._recorded += 1
        usage.record(Position(0, self._recorded), self.now_ms, amount)
        if self._recorded % _SETTLE_EVERY == 0:
            # As if a push had included it: the counters keep the sum, no event is kept.
            usage.push((), {0: self._recorded}, is_whole=False)
