"""Many customers as a CRM has them: plans, seats, external ids and negotiated limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import Connection

from control_plane import provisioning
from control_plane.provisioning import (
    CatalogLibrary,
    NewCustomer,
    WantedEntitlement,
    WantedOverride,
    WantedSubscription,
)
from control_plane.provisioning.checks import require_distinct, require_few
from control_plane.provisioning.customers import customer_exists, set_customer_name
from control_plane.provisioning.external_ids import (
    ExternalId,
    find_external_id,
    set_external_id,
)
from control_plane.provisioning.timeline import load_timeline
from weighbridge.rules.catalog import Override, SubscribedAddOn, Subscription
from weighbridge.rules.errors import InvalidArgumentError, UnavailableError, WeighbridgeError

ROWS_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class WantedCustomer:
    """A customer as it is to be. What is empty or None stays as it is."""

    line: int
    customer: str
    name: str = ""
    catalog: str = ""
    plan: str = ""
    add_ons: tuple[SubscribedAddOn, ...] | None = None
    seats: int | None = None
    external_ids: tuple[tuple[str, str], ...] = ()
    overrides: tuple[WantedEntitlement, ...] = ()


class CustomerChanges(NamedTuple):
    """What is different of a customer, for people."""

    line: int
    customer: str
    changes: tuple[str, ...]


def import_customers(
    connection: Connection, library: CatalogLibrary, rows: Sequence[WantedCustomer], now_ms: int
) -> list[CustomerChanges]:
    """Have customers be as wanted; say what changed. Again, it changes nothing.

    Raises WeighbridgeError naming the line of the first row that cannot be: nothing is to be
    committed then.
    """
    require_few("rows", rows, ROWS_MAX)
    require_distinct("rows", (row.customer for row in rows))
    changed = []
    for row in rows:
        with _named(row.line):
            one = _One(connection, library, row, now_ms)
            changed.append(CustomerChanges(row.line, row.customer, tuple(one.changes())))
    return changed


class _One:
    """A row at work."""

    def __init__(
        self, connection: Connection, library: CatalogLibrary, row: WantedCustomer, now_ms: int
    ) -> None:
        self._connection = connection
        self._library = library
        self._row = row
        self._now_ms = now_ms

    def changes(self) -> Iterator[str]:
        """Make every change, and say each."""
        yield from self._customer()
        yield from self._subscription()
        yield from self._external_ids()
        yield from self._overrides()

    def _customer(self) -> Iterator[str]:
        row = self._row
        if not customer_exists(self._connection, row.customer):
            new = NewCustomer(row.customer, row.name, row.catalog)
            provisioning.create_customer(self._connection, self._library, new, self._now_ms)
            yield "made"
            return
        record = provisioning.get_customer(self._connection, row.customer)
        if row.catalog and row.catalog != record.customer.catalog:
            problem = f"customer {row.customer!r} is of catalog {record.customer.catalog!r}"
            raise InvalidArgumentError("catalog", f"{problem}, for good")
        if row.name and row.name != record.name:
            set_customer_name(self._connection, row.customer, row.name, self._now_ms)
            yield f"name: {record.name or 'none'} -> {row.name}"

    def _subscription(self) -> Iterator[str]:
        row = self._row
        if not row.plan and row.add_ons is None and row.seats is None:
            return
        current = load_timeline(self._connection, row.customer, "", self._now_ms).current
        if not row.plan and current is None:
            raise InvalidArgumentError("plan", "is empty, and the customer is on none")
        wanted = _wanted(row, current)
        before = "none" if current is None else _terms(current)
        if current is None or _differs(current, wanted):
            provisioning.set_subscription(self._connection, self._library, wanted, self._now_ms)
            now = load_timeline(self._connection, row.customer, "", self._now_ms).current
            yield f"subscription: {before} -> {'none' if now is None else _terms(now)}"

    def _external_ids(self) -> Iterator[str]:
        for system, name in self._row.external_ids:
            before = find_external_id(self._connection, system, self._row.customer)
            if before != name:
                set_external_id(self._connection, ExternalId(self._row.customer, system, name))
                yield f"{system}: {before or 'none'} -> {name}"

    def _overrides(self) -> Iterator[str]:
        for wanted in self._row.overrides:
            before = self._override(wanted.feature)
            override = WantedOverride(self._row.customer, wanted)
            provisioning.set_override(self._connection, self._library, override, self._now_ms)
            after = self._override(wanted.feature)
            if before != after:
                yield f"override of {wanted.feature}: {_granted(before)} -> {_granted(after)}"

    def _override(self, feature: str) -> Override | None:
        record = provisioning.get_customer(self._connection, self._row.customer)
        for each in record.customer.overrides:
            if each.entitlement.feature == feature and not each.resource:
                return each
        return None


def _wanted(row: WantedCustomer, current: Subscription | None) -> WantedSubscription:
    kept = () if current is None else current.add_ons
    add_ons = kept if row.add_ons is None else row.add_ons
    plan = row.plan or (current.plan if current is not None else "")
    return WantedSubscription(row.customer, plan, add_ons=add_ons, quantity=row.seats)


def _differs(current: Subscription, wanted: WantedSubscription) -> bool:
    add_ons = tuple(sorted(wanted.add_ons, key=lambda each: each.add_on))
    return (current.plan, current.add_ons) != (wanted.plan, add_ons) or wanted.quantity not in {
        None,
        current.quantity,
    }


def _terms(of: Subscription) -> str:
    add_ons = "".join(f" + {each.quantity} {each.add_on}" for each in of.add_ons)
    return f"{of.plan}{add_ons}, {of.quantity} seats"


def _granted(override: Override | None) -> str:
    if override is None:
        return "none"
    of = override.entitlement
    if not of.enabled:
        return "off"
    limits = [
        f"{each.id}={'unlimited' if each.limit is None else each.limit}" for each in of.limits
    ]
    number = [] if of.number is None else [str(of.number)]
    return " ".join((*number, *limits)) or "on"


@contextmanager
def _named(line: int) -> Iterator[None]:
    """Name the line in what is raised; the kind of error stays."""
    try:
        yield
    except UnavailableError:
        raise
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"line {line}: {error.field}", error.problem) from error
    except WeighbridgeError as error:
        raise type(error)(f"line {line}: {error}") from error
