"""The catalogs and customers this sidecar holds. Immutable versions; only a higher one replaces."""

from __future__ import annotations

from collections import Counter as Tally
from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import islice

from weighbridge.rules.catalog import Catalog, Customer, CustomerStatus
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.errors import FailedPreconditionError
from weighbridge.rules.granting import Grant, Level, NoGrant, grant_of, level_of, lineage
from weighbridge.rules.unprovisioned import unprovisioned_customer

ABSENT_MAX = 10_000
"""How many customers are remembered not to exist, beside those with usage that is not settled."""


class Mode(Enum):
    """Which customers are held."""

    ALL = "all"
    LISTED = "listed"
    ON_DEMAND = "on_demand"


class CustomerState:
    """A customer, and what each resource has until something changes it.

    `ancestors` are those above it, nearest first, once they were all seen here.
    """

    __slots__ = (
        "_above",
        "_compiler",
        "_grants",
        "_level",
        "_level_compiler",
        "_seen",
        "ancestors",
        "customer",
        "parent",
    )

    def __init__(self, customer: Customer) -> None:
        self.customer = customer
        self.parent = customer.parent
        self.ancestors: tuple[str, ...] = ()
        self._compiler: PlanCompiler | None = None
        self._grants: dict[str, Grant | NoGrant] = {}
        self._above: Level | None = None
        self._seen = -1
        self._level: Level | None = None
        self._level_compiler: PlanCompiler | None = None

    def grant(self, compiler: PlanCompiler, resource: str, now_ms: int) -> Grant | NoGrant:
        """Return what the customer ("" resource) or the resource has now."""
        if compiler is not self._compiler:
            self._grants.clear()
            self._compiler = compiler
        grant = self._grants.get(resource)
        if grant is None or (grant.changes_at_ms is not None and now_ms >= grant.changes_at_ms):
            grant = grant_of(compiler, self.customer, resource, now_ms, self._above)
            if grant.changes_at_ms is not None or isinstance(grant, Grant):
                self._grants[resource] = grant
        return grant

    def is_under(self, seen: int, now_ms: int) -> bool:
        """Whether `put_under` was called with all above it as it still is."""
        above = self._above
        return (
            self._seen == seen
            and above is not None
            and (above.changes_at_ms is None or now_ms < above.changes_at_ms)
        )

    def put_under(self, above: Level, seen: int) -> None:
        """Take in what is above it as of `seen`; what it has is worked out anew if that changed."""
        self._seen = seen
        if above is not self._above:
            self._above = above
            self.ancestors = tuple(level.customer for level in lineage(above))
            self._grants.clear()

    def level(self, compiler: PlanCompiler, above: Level | None, now_ms: int) -> Level:
        """Return what it says to all below it; the same object while that does not change."""
        level = self._level
        if (
            level is None
            or level.above is not above
            or compiler is not self._level_compiler
            or (level.changes_at_ms is not None and now_ms >= level.changes_at_ms)
        ):
            self._level_compiler = compiler
            level = self._level = level_of(compiler, self.customer, above, now_ms)
        return level


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
        # What stands in for some of those, where a catalog has a default plan.
        self._default: Catalog | None = None
        self._stand_ins: dict[str, CustomerState] = {}
        # How many of those held are right under a customer, whether that is held or not.
        self._children: Tally[str] = Tally()
        # Moves with every change of a customer that others are under, and of a catalog.
        self._hierarchy_version = 0
        # Held of a history that the control plane has left; good until it says what is now.
        self.is_outdated = False
        self._outdated_catalogs: set[str] = set()
        self._outdated_customers: set[str] = set()

    def __len__(self) -> int:
        return len(self._customers)

    def may_hold(self, customer: str) -> bool:
        """Whether the mode allows the customer to be held; those above one that is held are."""
        return self.mode is not Mode.LISTED or customer in self.listed or customer in self._children

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

    def missing_above(self, state: CustomerState, compiler: PlanCompiler, now_ms: int) -> str:
        """Bring what is above a customer up to date; return the ancestor that is not here, if any.

        To be called before `CustomerState.grant` of one that has a parent.
        """
        if state.is_under(self._hierarchy_version, now_ms):
            return ""
        ancestors: list[CustomerState] = []
        parent = state.parent
        while parent:
            found = self._customers.get(parent)
            if found is None:
                return parent
            ancestors.append(found)
            parent = found.parent
        above: Level | None = None
        for ancestor in reversed(ancestors):
            above = ancestor.level(compiler, above, now_ms)
        assert above is not None, "only a customer with a parent has anything above it"
        state.put_under(above, self._hierarchy_version)
        return ""

    def ancestors(self, customer: str) -> tuple[str, ...] | None:
        """Return those above a customer, nearest first; None where one of them is not here."""
        ancestors: list[str] = []
        state = self._customers.get(customer)
        while state is not None and state.parent:
            ancestors.append(state.parent)
            state = self._customers.get(state.parent)
        return None if state is None else tuple(ancestors)

    def is_whole(self, customer: str) -> bool:
        """Whether the customer and all above it are here."""
        state = self._customers.get(customer)
        if state is None or not state.parent:
            return state is not None
        return self.ancestors(customer) is not None

    def has_children(self, customer: str) -> bool:
        """Whether any that is held is right under the customer."""
        return customer in self._children

    def absent(self) -> set[str]:
        """Return the customers that are known not to exist."""
        return set(self._absent)

    def is_absent(self, customer: str) -> bool:
        """Whether the control plane said that there is no such customer."""
        return customer in self._absent

    def stand_in(self, customer: str) -> CustomerState | None:
        """Return what an absent customer has by the default plan; None: it is unknown."""
        if self._default is None:
            return None
        state = self._stand_ins.get(customer)
        if state is None:
            version = self._absent[customer]
            state = CustomerState(unprovisioned_customer(self._default, customer, version))
            self._stand_ins[customer] = state
        return state

    def apply_catalog(self, catalog: Catalog) -> bool:
        """Hold a catalog; False where its edition is not newer than the one held.

        What customers have is worked out anew when it is next asked for, so this costs the same
        for any number of them.
        """
        held = self._held_compiler(catalog.id)
        if held is not None and catalog.edition <= held.catalog.edition:
            return False
        self._compilers[catalog.id] = PlanCompiler(catalog)
        self._hierarchy_version += 1
        self._outdated_catalogs.discard(catalog.id)
        self._choose_default()
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
        self._stand_ins.pop(customer.id, None)
        held = self._customers.get(customer.id)
        self._customers[customer.id] = CustomerState(customer)
        if customer.parent:
            self._children[customer.parent] += 1
        if held is not None:
            self._leave_parent(held)
        if customer.id in self._children:
            self._hierarchy_version += 1
        self._outdated_customers.discard(customer.id)
        return True

    def apply_absent(self, customer: str, version: int) -> bool:
        """Remember that there is no such customer; False where something newer is held."""
        if version < self.held_version(customer):
            return False
        self._drop(customer)
        self._outdated_customers.discard(customer)
        self._absent[customer] = version
        self._stand_ins.pop(customer, None)
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
        self._stand_ins.clear()

    def drop_outdated(self) -> list[str]:
        """Forget outdated catalogs: all there is has come. Return the customers still outdated."""
        self.is_outdated = False
        for catalog in self._outdated_catalogs:
            self._compilers.pop(catalog, None)
        self._outdated_catalogs.clear()
        self._choose_default()
        self._outdated_customers &= self._customers.keys()
        return list(self._outdated_customers)

    def evict(self, is_pinned: Callable[[str], bool]) -> list[str]:
        """Drop the customers longest unasked for, down to the bound; return their ids.

        Those that do not exist have a bound of their own.
        """
        evicted = self._evict_absent(is_pinned)
        surplus = len(self._customers) - self._customers_max
        if self.mode is not Mode.ON_DEMAND or surplus <= 0:
            return evicted
        surplus += len(evicted)
        for customer in self._customers:
            if len(evicted) == surplus:
                break
            # Those above one that is held stay; they go after the last of these.
            if customer not in self._children and not is_pinned(customer):
                evicted.append(customer)
        for customer in evicted:
            self._drop(customer)
        return evicted

    def _choose_default(self) -> None:
        held = (compiler.catalog for compiler in self._compilers.values())
        defaults = (catalog for catalog in held if catalog.default_plan)
        self._default = min(defaults, key=lambda catalog: catalog.id, default=None)
        self._stand_ins.clear()

    def _evict_absent(self, is_pinned: Callable[[str], bool]) -> list[str]:
        surplus = len(self._absent) - ABSENT_MAX
        if surplus <= 0:
            return []
        idle = (customer for customer in self._absent if not is_pinned(customer))
        evicted = list(islice(idle, surplus))
        for customer in evicted:
            del self._absent[customer]
            self._stand_ins.pop(customer, None)
        return evicted

    def _drop(self, customer: str) -> None:
        state = self._customers.pop(customer, None)
        if state is not None:
            self._leave_parent(state)
        if customer in self._children:
            self._hierarchy_version += 1

    def _leave_parent(self, state: CustomerState) -> None:
        if state.parent:
            self._children[state.parent] -= 1
            if not self._children[state.parent]:
                del self._children[state.parent]

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
