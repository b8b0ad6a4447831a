"""The catalogs and customers this sidecar holds. Immutable versions; only a higher one replaces."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import Enum

from weighbridge.rules.catalog import Catalog, Customer, CustomerStatus
from weighbridge.rules.entitlement import Grant, NoGrant, PlanCompiler, grant_of
from weighbridge.rules.errors import FailedPreconditionError

ABSENT_MAX = 10_000
"""How many customers are remembered not to exist."""


class Mode(Enum):
    """Which customers are held."""

    ALL = "all"
    LISTED = "listed"
    ON_DEMAND = "on_demand"


class CustomerState:
    """A customer, and what each resource has until something changes it."""

    __slots__ = ("_compiler", "_grants", "customer")

    def __init__(self, customer: Customer) -> None:
        self.customer = customer
        self._compiler: PlanCompiler | None = None
        self._grants: dict[str, Grant | NoGrant] = {}

    def grant(self, compiler: PlanCompiler, resource: str, now_ms: int) -> Grant | NoGrant:
        """Return what the customer ("" resource) or the resource has now."""
        if compiler is not self._compiler:
            self._grants.clear()
            self._compiler = compiler
        grant = self._grants.get(resource)
        if grant is None or (grant.changes_at_ms is not None and now_ms >= grant.changes_at_ms):
            grant = grant_of(compiler, self.customer, resource, now_ms)
            if grant.changes_at_ms is not None or isinstance(grant, Grant):
                self._grants[resource] = grant
        return grant


class SnapshotCache:
    """The catalogs, and as many customers as the mode and the bound allow."""

    def __init__(self, mode: Mode, customers_max: int, listed: frozenset[str]) -> None:
        self.mode = mode
        self.listed = listed
        # Mode ALL or LISTED: whether all that was subscribed to is here.
        self.is_complete = False
        self._customers_max = customers_max
        self._compilers: dict[str, PlanCompiler] = {}
        self._customers: OrderedDict[str, CustomerState] = OrderedDict()
        self._absent: OrderedDict[str, int] = OrderedDict()
        # Pushed out of `_absent` by newer ones, to be let go of.
        self._surplus: list[str] = []
        # Held of a history that the control plane has left; good until it says what is now.
        self.is_outdated = False
        self._outdated_catalogs: set[str] = set()
        self._outdated_customers: set[str] = set()

    def __len__(self) -> int:
        return len(self._customers)

    def may_hold(self, customer: str) -> bool:
        """Whether the mode allows the customer to be held."""
        return self.mode is not Mode.LISTED or customer in self.listed

    def compiler(self, catalog: str) -> PlanCompiler | None:
        """Return the compiler of the catalog version held."""
        return self._compilers.get(catalog)

    def catalogs(self) -> Iterator[Catalog]:
        """Iterate over the catalog versions held, without outdated ones."""
        outdated = self._outdated_catalogs
        return (c.catalog for id_, c in self._compilers.items() if id_ not in outdated)

    def customers(self) -> Iterator[Customer]:
        """Iterate over the customers held, tombstones included."""
        return (state.customer for state in self._customers.values())

    def find(self, customer: str) -> CustomerState | None:
        """Return the customer, if held; in mode ON_DEMAND it becomes the newest."""
        state = self._customers.get(customer)
        if state is not None and self.mode is Mode.ON_DEMAND:
            self._customers.move_to_end(customer)
        return state

    def absent(self) -> set[str]:
        """Return the customers that are known not to exist."""
        return set(self._absent)

    def is_absent(self, customer: str) -> bool:
        """Whether the control plane said that there is no such customer."""
        return customer in self._absent

    def apply_catalog(self, catalog: Catalog) -> bool:
        """Hold a catalog; False where its edition is not newer than the one held.

        What customers have is worked out anew when it is next asked for, so this costs the same
        for any number of them.
        """
        held = self._held_compiler(catalog.id)
        if held is not None and catalog.edition <= held.catalog.edition:
            return False
        self._compilers[catalog.id] = PlanCompiler(catalog)
        self._outdated_catalogs.discard(catalog.id)
        return True

    def apply_customer(self, customer: Customer) -> bool:
        """Hold a customer; False where it is not newer than what is held.

        Raises FailedPreconditionError where its catalog is not here in the version it needs.
        """
        if customer.status is not CustomerStatus.REVOKED:
            self._require_catalog(customer)
        if self._is_held(customer):
            return False
        self._absent.pop(customer.id, None)
        self._customers[customer.id] = CustomerState(customer)
        self._outdated_customers.discard(customer.id)
        return True

    def apply_absent(self, customer: str, version: int) -> bool:
        """Remember that there is no such customer; False where something newer is held."""
        if version < self.held_version(customer):
            return False
        self._customers.pop(customer, None)
        self._outdated_customers.discard(customer)
        self._absent[customer] = version
        if len(self._absent) > ABSENT_MAX:
            self._surplus.append(self._absent.popitem(last=False)[0])
        return True

    def held_version(self, customer: str) -> int:
        """Return the version held of a customer; 0 for none, or an outdated one."""
        if customer in self._outdated_customers:
            return 0
        state = self._customers.get(customer)
        if state is not None:
            return state.customer.version
        return self._absent.get(customer, 0)

    def outdate(self) -> None:
        """Let whatever comes replace what is held: its versions are of another history.

        Answers go on from it until then.
        """
        self.is_outdated = True
        self._outdated_catalogs = set(self._compilers)
        self._outdated_customers = set(self._customers)
        self._absent = OrderedDict.fromkeys(self._absent, 0)

    def drop_outdated(self) -> list[str]:
        """Forget outdated catalogs: all there is has come. Return the customers still outdated."""
        self.is_outdated = False
        for catalog in self._outdated_catalogs:
            self._compilers.pop(catalog, None)
        self._outdated_catalogs.clear()
        self._outdated_customers &= self._customers.keys()
        return list(self._outdated_customers)

    def evict(self, is_pinned: Callable[[str], bool]) -> list[str]:
        """Drop the customers longest unasked for, down to the bound; return their ids."""
        evicted, self._surplus = self._surplus, []
        surplus = len(self._customers) - self._customers_max
        if self.mode is not Mode.ON_DEMAND or surplus <= 0:
            return evicted
        surplus += len(evicted)
        for customer in self._customers:
            if len(evicted) == surplus:
                break
            if not is_pinned(customer):
                evicted.append(customer)
        for customer in evicted:
            self._customers.pop(customer, None)
        return evicted

    def _is_held(self, customer: Customer) -> bool:
        """Whether what is held is as new; the same version may have been read anew later."""
        if customer.id in self._outdated_customers:
            return False
        state = self._customers.get(customer.id)
        if state is None:
            return customer.version <= self._absent.get(customer.id, 0)
        held = state.customer
        return (customer.version, customer.catalog_version_min) <= (
            held.version,
            held.catalog_version_min,
        )

    def _held_compiler(self, catalog: str) -> PlanCompiler | None:
        return None if catalog in self._outdated_catalogs else self._compilers.get(catalog)

    def _require_catalog(self, customer: Customer) -> None:
        compiler = self._held_compiler(customer.catalog)
        if compiler is None:
            raise FailedPreconditionError(f"catalog {customer.catalog!r} is not held")
        held, needed = compiler.catalog.edition, customer.edition_min
        if held < needed:
            raise FailedPreconditionError(
                f"catalog {customer.catalog!r} is held at version {held.version} (addition "
                f"{held.addition}); the customer needs {needed.version} ({needed.addition})"
            )
