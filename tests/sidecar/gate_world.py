"""A gate with one small catalog, for tests of the core."""

from __future__ import annotations

from sidecar.core.batch import Batch, Outcome
from sidecar.core.book import UsageBook
from sidecar.core.decided import Decided
from sidecar.core.gate import Gate
from sidecar.core.keys import KeyTable
from sidecar.core.link import Link
from sidecar.core.moment import Moment
from sidecar.core.request import Kind, Request
from sidecar.core.snapshots import Mode, SnapshotCache
from sidecar.core.usage import Position
from weighbridge.rules.catalog import (
    AddOn,
    Catalog,
    Customer,
    CustomerStatus,
    Entitlement,
    Feature,
    FeatureType,
    Limit,
    LimitKind,
    OutageKind,
    OutagePolicy,
    PlanVersion,
    Subscription,
    SubscriptionStatus,
    UpgradeOffer,
)
from weighbridge.rules.window import Period, Window, WindowKind

MONTH = Window(WindowKind.CALENDAR, Period.MONTH)
DAY = Window(WindowKind.CALENDAR, Period.DAY)
START_MS = 1_790_000_000_000
OUTAGE_AFTER_MS = 10_000
MOMENT = Moment(START_MS, 1_000_000)


def hard(limit: int, window: Window = MONTH, limit_id: str = "month") -> Limit:
    return Limit(limit_id, LimitKind.HARD, limit, window)


def soft(limit: int, window: Window = MONTH, limit_id: str = "month") -> Limit:
    return Limit(limit_id, LimitKind.SOFT, limit, window)


def catalog(version: int = 1, *, calls: int = 10) -> Catalog:
    """Plans free and pro over every type of feature and every outage policy."""
    features = [
        Feature("api.calls", FeatureType.METERED, unit="call"),
        Feature("tokens", FeatureType.METERED),
        Feature("unlimited", FeatureType.METERED),
        Feature("denying", FeatureType.METERED, outage=OutagePolicy(OutageKind.DENY)),
        Feature("allowing", FeatureType.METERED, outage=OutagePolicy(OutageKind.ALLOW)),
        Feature("safe", FeatureType.METERED, outage=OutagePolicy(OutageKind.SAFE_CAPACITY, 3)),
        Feature("sso", FeatureType.BOOLEAN),
        Feature("file_mb", FeatureType.NUMBER),
        Feature("support", FeatureType.ENUM, values=("email", "phone")),
    ]
    free = [
        Entitlement("api.calls", limits=(hard(calls), hard(5, DAY, "day"))),
        Entitlement("tokens", limits=(soft(100),)),
        Entitlement("unlimited"),
        Entitlement("denying", limits=(hard(10),)),
        Entitlement("allowing", limits=(hard(10),)),
        Entitlement("safe", limits=(hard(10),)),
        Entitlement("file_mb", number=25),
        Entitlement("support", values=("email",)),
    ]
    pro = [
        Entitlement("api.calls", limits=(hard(1000),)),
        Entitlement("sso"),
        Entitlement("support", values=("email", "phone")),
    ]
    more = AddOn("more", "More calls", {"api.calls": Entitlement("api.calls", limits=(hard(10),))})
    offer = UpgradeOffer("Go Pro", "https://example.com/pro")
    return Catalog(
        id="shop",
        version=version,
        features={feature.id: feature for feature in features},
        plans={
            "free": {1: PlanVersion("free", 1, "Free", {e.feature: e for e in free}, ("pro",))},
            "pro": {1: PlanVersion("pro", 1, "Pro", {e.feature: e for e in pro}, (), offer)},
        },
        add_ons={"more": more},
    )


def customer(
    customer_id: str = "acme",
    version: int = 1,
    *,
    plan: str = "free",
    status: CustomerStatus = CustomerStatus.ACTIVE,
) -> Customer:
    subscription = Subscription(
        "s1", "", plan, None, (), SubscriptionStatus.ACTIVE, START_MS, START_MS - 1
    )
    return Customer(customer_id, version, status, "shop", 1, ("workspace",), (subscription,))


def make_gate(mode: Mode = Mode.ALL, *, customers_max: int = 100, keys_max: int = 100) -> Gate:
    """Return a gate that holds the catalog and the customer `acme`, connected."""
    cache = SnapshotCache(mode, customers_max, frozenset({"acme"}))
    cache.apply_catalog(catalog())
    cache.apply_customer(customer())
    link = Link(MOMENT.boot_ms, OUTAGE_AFTER_MS)
    link.is_connected = True
    link.heard(MOMENT.boot_ms)
    return Gate(cache, UsageBook(), KeyTable(keys_max, 900_000), link, admit_unloaded=False)


class Driver:
    """Asks a gate one call per batch, as if each were journaled."""

    def __init__(self, gate: Gate | None = None) -> None:
        self.gate = gate or make_gate()
        self.moment = MOMENT
        self.number = 0

    def ask(self, request: Request) -> Outcome:
        batch = Batch(self.gate, Position(0, self.number + 1), self.moment)
        outcome = batch.decide(request)
        if batch.entries:
            self.number += 1
            batch.commit()
        return outcome

    def check(self, feature: str, amount: int | None = None, value: str = "") -> Decided:
        outcome = self.ask(Request(Kind.CHECK, "acme", "", feature, amount, value))
        assert isinstance(outcome, Decided)
        return outcome

    def consume(self, feature: str, amount: int | None = None, key: str = "") -> Decided:
        outcome = self.ask(Request(Kind.CONSUME, "acme", "", feature, amount, key=key))
        assert isinstance(outcome, Decided)
        return outcome

    def report(self, feature: str, amount: int | None = None) -> Decided:
        outcome = self.ask(Request(Kind.REPORT, "acme", "", feature, amount))
        assert isinstance(outcome, Decided)
        return outcome

    def later(self, milliseconds: int) -> None:
        self.moment = Moment(self.moment.now_ms + milliseconds, self.moment.boot_ms + milliseconds)
