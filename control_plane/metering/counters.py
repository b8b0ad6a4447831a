"""Which windows usage counts in, kept per version of customer and catalog.

Usage counts in the windows of every grant that a customer has from now on, not only of the one in
force: a limit that an override brings tomorrow has to start from what was really used. Which turn
of a window it counts in is decided by the instant of the usage.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from sqlalchemy import Connection

from control_plane.metering.records import SetAsideReason
from control_plane.provisioning import CatalogLibrary, catalog_editions, load_customers
from control_plane.storage import tables
from control_plane.storage.rows import rows_by_key
from weighbridge.rules.catalog import (
    Catalog,
    Customer,
    Entitlement,
    FeatureType,
    SubscriptionStatus,
)
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.granting import Level, NoGrant, grant_of, level_of
from weighbridge.rules.unprovisioned import unprovisioned_customer
from weighbridge.rules.window import Window, window_bounds

CUSTOMERS_MAX: Final = 50_000
"""Customers kept worked out; past that, those first loaded are worked out again when needed."""

SPANS_PER_COUNTER_MAX: Final = 4
_VERSION_COLUMNS: Final = ("id", "version", "parent_id")


class Counter(NamedTuple):
    """What usage is counted by."""

    customer: str
    resource: str
    feature: str


class Entitled(NamedTuple):
    """What there is of a feature until `changes_at_ms`; `is_refused`: not now, whatever it is."""

    entitlement: Entitlement | None
    anchor_ms: int
    changes_at_ms: int | None
    is_refused: bool = False


class CountedWindow(NamedTuple):
    """One window that usage counts in."""

    window: Window
    key: str
    start_ms: int
    end_ms: int | None
    anchor_ms: int

    def has_sibling(self, key: str, start_ms: int) -> bool:
        """Whether that is another turn of the same window: no instant is in both."""
        return (
            key == self.key
            and start_ms != self.start_ms
            and window_bounds(self.window, start_ms, self.anchor_ms).start_ms == start_ms
        )


class CountedSpan:
    """The windows that usage of any instant in [from, until) counts in; no `until_ms`: for good.

    Those of the grant in force come first. `moving` are rolling windows and sessions, which usage
    of any instant counts in. `is_swept` says that no rows are left which usage of the
    span should count in but does not.
    """

    __slots__ = ("from_ms", "is_swept", "moving", "until_ms", "windows")

    def __init__(self, windows: tuple[CountedWindow, ...], moving: tuple[Window, ...] = ()) -> None:
        self.from_ms = max((window.start_ms for window in windows), default=0)
        ends = (window.end_ms for window in windows if window.end_ms is not None)
        self.until_ms = min(ends, default=None)
        self.windows = windows
        self.moving = moving
        self.is_swept = False

    def contains(self, at_ms: int) -> bool:
        return self.from_ms <= at_ms and (self.until_ms is None or at_ms < self.until_ms)


class FeatureWindows:
    """The windows of one feature with their anchors, as they are until `until_ms`."""

    __slots__ = ("_moving", "_spans", "_windows", "until_ms")

    def __init__(self, windows: Iterable[tuple[Window, int]], until_ms: int | None) -> None:
        # The same key and anchor turn together; those that move have no anchor.
        turning: dict[tuple[str, int], tuple[Window, int]] = {}
        moving: dict[str, Window] = {}
        for window, anchor_ms in windows:
            if window.length_ms is None:
                turning[window.key, anchor_ms] = (window, anchor_ms)
            else:
                moving[window.key] = window
        self._windows = tuple(turning.values())
        self._moving = tuple(moving.values())
        self._spans: list[CountedSpan] = []
        self.until_ms = until_ms

    def span(self, at_ms: int) -> CountedSpan:
        """Return the turns that an instant lies in."""
        for span in self._spans:
            if span.contains(at_ms):
                return span
        found = CountedSpan(self._turns(at_ms), self._moving)
        self._spans.insert(0, found)
        del self._spans[SPANS_PER_COUNTER_MAX:]
        return found

    def _turns(self, at_ms: int) -> tuple[CountedWindow, ...]:
        turns: dict[tuple[str, int], CountedWindow] = {}
        for window, anchor_ms in self._windows:
            bounds = window_bounds(window, at_ms, anchor_ms)
            turn = CountedWindow(window, window.key, *bounds, anchor_ms)
            turns.setdefault((turn.key, turn.start_ms), turn)
        return tuple(turns.values())


class CatalogCounters:
    """One version of a catalog, with what its plans compile to."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.compiler = PlanCompiler(catalog)
        self.metered = tuple(
            feature.id
            for feature in catalog.features.values()
            if feature.type is FeatureType.METERED
        )

    def has_plans_of(self, customer: Customer) -> bool:
        """Whether it has every plan version that the customer's subscriptions name."""
        return all(
            subscription.plan_version is None
            or subscription.plan_version in self.catalog.plans.get(subscription.plan, ())
            for subscription in customer.subscriptions
            if subscription.status is not SubscriptionStatus.CANCELED
        )


class CustomerCounters:
    """One version of a customer, and of everybody above it, under one version of its catalog."""

    __slots__ = ("_windows", "above", "catalog", "customer")

    def __init__(
        self, customer: Customer, catalog: CatalogCounters, above: CustomerCounters | None = None
    ) -> None:
        self.customer = customer
        self.catalog = catalog
        # Its parent's.
        self.above = above
        self._windows: dict[tuple[str, str], FeatureWindows] = {}

    @property
    def ancestors(self) -> tuple[str, ...]:
        """Everybody above the customer, nearest first."""
        return tuple(each.customer.id for each in self.lineage())

    def lineage(self) -> Iterator[CustomerCounters]:
        """Iterate over everybody above the customer, nearest first."""
        above = self.above
        while above is not None:
            yield above
            above = above.above

    @property
    def resources(self) -> tuple[str, ...]:
        """Every resource; "" is the customer itself."""
        return ("", *self.customer.resources)

    def refusal(self, resource: str, feature: str, amount: int = 0) -> SetAsideReason | None:
        """Return why an amount of the feature cannot be applied, or None."""
        if resource and resource not in self.customer.resources:
            return SetAsideReason.RESOURCE_UNKNOWN
        found = self.catalog.catalog.features.get(feature)
        if found is None:
            return SetAsideReason.FEATURE_UNKNOWN
        if found.type is not FeatureType.METERED or found.spend is not None:
            return SetAsideReason.FEATURE_NOT_METERED
        if amount < 0 and not found.is_allocation:
            return SetAsideReason.NOT_RELEASABLE
        return None

    def span(self, counter: Counter, at_ms: int, now_ms: int) -> CountedSpan:
        """Return the windows that usage of the instant counts in, as it is seen now."""
        key = (counter.resource, counter.feature)
        windows = self._windows.get(key)
        if windows is None or (windows.until_ms is not None and now_ms >= windows.until_ms):
            windows = self._windows[key] = self._windows_from(counter, now_ms)
        return windows.span(at_ms)

    def level(self, at_ms: int) -> Level:
        """Return what the customer says to all below it at an instant."""
        above = None if self.above is None else self.above.level(at_ms)
        return level_of(self.catalog.compiler, self.customer, above, at_ms)

    def _windows_from(self, counter: Counter, now_ms: int) -> FeatureWindows:
        found, until_ms = self._windows_at(counter, now_ms)
        windows = list(found)
        change_ms = until_ms
        while change_ms is not None:
            found, change_ms = self._windows_at(counter, change_ms)
            windows += found
        return FeatureWindows(windows, until_ms)

    def entitled(self, resource: str, feature: str, at_ms: int) -> Entitled:
        """Return what the customer or resource itself has on a feature at an instant.

        Limits of those above are not among it: they count in counters of their own.
        """
        if not resource:
            # As those below see it: an override counts also where nobody has a subscription.
            level = self.level(at_ms)
            found = level.entitlements.get(feature)
            is_refused = level.reason is not None
            return Entitled(found, level.anchor_ms, level.changes_at_ms, is_refused)
        above = None if self.above is None else self.above.level(at_ms)
        grant = grant_of(self.catalog.compiler, self.customer, resource, at_ms, above)
        if isinstance(grant, NoGrant):
            return Entitled(None, 0, grant.changes_at_ms, is_refused=True)
        found = grant.entitlements.get(feature)
        return Entitled(found, grant.subscription.anchor_ms, grant.changes_at_ms)

    def _windows_at(
        self, counter: Counter, at_ms: int
    ) -> tuple[list[tuple[Window, int]], int | None]:
        """Return the windows that limits of the counter are in at an instant, and until when."""
        entitled = self.entitled(counter.resource, counter.feature, at_ms)
        return _windows_of(entitled.entitlement, entitled.anchor_ms), entitled.changes_at_ms


def _windows_of(entitlement: Entitlement | None, anchor_ms: int) -> list[tuple[Window, int]]:
    if entitlement is None or not entitlement.enabled:
        return []
    return [(limit.window, anchor_ms) for limit in entitlement.limits]


class CounterCache:
    """Customers and catalogs worked out, as of the last `refresh`. For one thread at a time.

    It remembers what transactions did (`CountedSpan.is_swept`): after one that was rolled back, it
    has to be cleared.
    """

    def __init__(self, library: CatalogLibrary, customers_max: int = CUSTOMERS_MAX) -> None:
        self._library = library
        self._customers_max = customers_max
        self._customers: dict[str, CustomerCounters] = {}
        self._catalogs: dict[str, CatalogCounters] = {}
        # Metered features of catalog versions that are no longer current.
        self._metered_before: dict[tuple[str, int], frozenset[str]] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._customers.clear()
        self._catalogs.clear()
        self._metered_before.clear()

    def refresh(self, connection: Connection, customers: Collection[str]) -> None:
        """Bring these customers, all above them and all catalogs to what the transaction sees."""
        self._refresh_catalogs(connection)
        versions: dict[str, int] = {}
        parents: dict[str, str] = {}
        wanted: Collection[str] = customers
        while wanted:
            found = _customer_versions(connection, wanted)
            for customer in wanted:
                if customer not in found:
                    self._customers.pop(customer, None)
            versions.update((customer, version) for customer, (version, _) in found.items())
            above = {customer: parent for customer, (_, parent) in found.items() if parent}
            parents.update(above)
            wanted = {parent for parent in above.values() if parent not in versions}
        self._make_room(versions)
        self._build(connection, versions, parents)

    def _build(
        self, connection: Connection, versions: Mapping[str, int], parents: Mapping[str, str]
    ) -> None:
        """Work out anew who changed, and who is under them; those above come first."""
        stale = [
            customer
            for customer, version in versions.items()
            if not self._is_current(customer, version)
        ]
        self.put(connection, load_customers(connection, stale))
        if parents:
            for customer in versions:
                self._put_under(customer, parents)

    def _put_under(self, customer: str, parents: Mapping[str, str]) -> CustomerCounters | None:
        counters = self._customers[customer]
        parent = parents.get(customer)
        above = None if parent is None else self._put_under(parent, parents)
        if counters.above is not above:
            counters = CustomerCounters(counters.customer, counters.catalog, above)
            self._customers[customer] = counters
        return counters

    def find(self, customer: str) -> CustomerCounters | None:
        """Return a customer named to the last `refresh`; None where it does not exist."""
        return self._customers.get(customer)

    def put(self, connection: Connection, customers: Iterable[Customer]) -> list[CustomerCounters]:
        """Take in customers read in the same transaction as the last `refresh`."""
        found = []
        for customer in customers:
            if not self._catalogs[customer.catalog].has_plans_of(customer):
                # On an older plan version that nobody was on when the catalog was loaded.
                self._load_catalog(connection, customer.catalog)
            before = self._customers.get(customer.id)
            above = None if before is None else before.above
            counters = CustomerCounters(customer, self._catalogs[customer.catalog], above)
            self._customers[customer.id] = counters
            found.append(counters)
        return found

    def catalogs(self) -> list[Catalog]:
        """Return the current version of every catalog, as of the last `refresh`."""
        return [counters.catalog for counters in self._catalogs.values()]

    def default(self) -> CustomerCounters | None:
        """Return what a customer nobody provisioned has; None where it is unknown."""
        for catalog in self._catalogs.values():
            if catalog.catalog.default_plan:
                return CustomerCounters(unprovisioned_customer(catalog.catalog, "", 0), catalog)
        return None

    def was_metered(self, connection: Connection, catalog: str, version: int, feature: str) -> bool:
        """Whether an earlier version of a catalog metered a feature that it lacks now.

        Usage that was admitted under that version is usage all the same.
        """
        current = self._catalogs.get(catalog)
        if current is None or not 1 <= version < current.catalog.version:
            return False
        metered = self._metered_before.get((catalog, version))
        if metered is None:
            before = CatalogCounters(self._library.load(connection, catalog, version))
            features = before.catalog.features
            metered = frozenset(id_ for id_ in before.metered if features[id_].spend is None)
            self._metered_before[catalog, version] = metered
        return feature in metered

    def _is_current(self, customer: str, version: int) -> bool:
        cached = self._customers.get(customer)
        return (
            cached is not None
            and cached.customer.version == version
            and cached.catalog is self._catalogs.get(cached.customer.catalog)
        )

    def _refresh_catalogs(self, connection: Connection) -> None:
        for catalog, edition in catalog_editions(connection).items():
            cached = self._catalogs.get(catalog)
            if cached is None or cached.catalog.edition != edition:
                self._load_catalog(connection, catalog)

    def _load_catalog(self, connection: Connection, catalog: str) -> None:
        self._catalogs[catalog] = CatalogCounters(self._library.load(connection, catalog))

    def _make_room(self, in_use: Collection[str]) -> None:
        surplus = len(self._customers) + len(in_use) - self._customers_max
        if surplus > 0:
            idle = (customer for customer in self._customers if customer not in in_use)
            for customer in list(islice(idle, surplus)):
                del self._customers[customer]


def _customer_versions(
    connection: Connection, customers: Collection[str]
) -> dict[str, tuple[int, str | None]]:
    """Return the version and the parent of each that exists."""
    wanted = ((customer,) for customer in customers)
    found = rows_by_key(connection, tables.customer, ("id",), wanted, _VERSION_COLUMNS)
    return {id_: (version, parent) for id_, version, parent in found}
