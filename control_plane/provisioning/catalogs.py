"""Catalogs in the database: immutable versions, compiled when they are needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from threading import Lock
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Row, String, bindparam, func, select

from control_plane.catalog import compile_catalog, load_document
from control_plane.storage.tables import (
    catalog,
    catalog_version,
    customer,
    plan_version,
    subscription,
)
from weighbridge.rules.catalog import (
    Catalog,
    Edition,
    Migration,
    PlanVersion,
    SubscriptionStatus,
    VersionStep,
)
from weighbridge.rules.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from weighbridge.rules.units import require_id

COMPILED_VERSIONS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class CatalogSummary:
    """What identifies a catalog version, and how much is in it."""

    catalog: str
    version: int
    applied_at_ms: int
    features: int
    plans: int
    add_ons: int
    customers: int


@dataclass(frozen=True, slots=True)
class StoredCatalog:
    """A catalog version: its summary, the document as applied, and what it compiles to."""

    summary: CatalogSummary
    document: str
    catalog: Catalog


class CatalogLibrary:
    """Loads catalogs, and keeps what it compiled: a version never changes. Any thread may ask."""

    def __init__(self, versions_max: int = COMPILED_VERSIONS_MAX) -> None:
        self._versions_max = versions_max
        self._compiled: OrderedDict[tuple[str, int], tuple[str, Catalog]] = OrderedDict()
        self._lock = Lock()

    def load(self, connection: Connection, catalog_id: str, version: int | None = None) -> Catalog:
        """Return a version of a catalog as it was applied. Raises NotFoundError.

        The current one (no `version`) also has every older plan version that a subscription keeps,
        and those that followers may still be on.
        """
        if version is not None:
            return self._compile(connection, catalog_id, version)
        edition = current_edition(connection, catalog_id)
        current = self._compile(connection, catalog_id, edition.version)
        late = _late_plans(connection, catalog_id)
        steps = {plan: rows for plan, rows in late.items() if plan in current.plans}
        kept = _pinned_versions(connection, catalog_id)
        kept += [place for rows in steps.values() for place in _waited_on(rows)]
        older = self._older(connection, current, kept)
        if not steps and not older and not edition.addition:
            return current
        return replace(
            current,
            plans={id_: {**older.get(id_, {}), **own} for id_, own in current.plans.items()},
            steps={plan: tuple(map(step_from_row, rows)) for plan, rows in steps.items()},
            addition=edition.addition,
        )

    def plan_version(
        self, connection: Connection, catalog_id: str, plan: str, version: int
    ) -> PlanVersion:
        """Return any version that a plan ever had. Raises NotFoundError."""
        table = plan_version
        made_by: int | None = connection.scalar(
            select(table.c.catalog_version).where(
                table.c.catalog_id == catalog_id,
                table.c.plan_id == plan,
                table.c.version == version,
            )
        )
        if made_by is None:
            raise NotFoundError(f"plan {plan!r} of catalog {catalog_id!r} has no version {version}")
        return self._compile(connection, catalog_id, made_by).plans[plan][version]

    def _older(
        self, connection: Connection, current: Catalog, kept: list[tuple[str, int, int]]
    ) -> dict[str, dict[int, PlanVersion]]:
        older: dict[str, dict[int, PlanVersion]] = {}
        for plan, version, made_by in kept:
            if version not in current.plans.get(plan, {}):
                found = self._compile(connection, current.id, made_by).plans[plan][version]
                older.setdefault(plan, {})[version] = found
        return older

    def _compile(self, connection: Connection, catalog_id: str, version: int) -> Catalog:
        text = stored_document(connection, catalog_id, version)
        key = (catalog_id, version)
        with self._lock:
            kept = self._compiled.get(key)
        # The text is compared because a version seen in a transaction that was then rolled back
        # can come again as another one.
        if kept is not None and kept[0] == text:
            return kept[1]
        numbers = _plan_numbers(connection, catalog_id, version)
        try:
            document = load_document(text, catalog_id)
        except InvalidArgumentError as error:
            # Not the caller's fault: it was valid when it was applied.
            message = f"version {version} of catalog {catalog_id!r} cannot be read: {error}"
            raise FailedPreconditionError(message) from error
        compiled = compile_catalog(document, version, numbers)
        with self._lock:
            self._compiled[key] = (text, compiled)
            self._compiled.move_to_end(key)
            while len(self._compiled) > self._versions_max:
                self._compiled.popitem(last=False)
        return compiled


def catalog_versions(connection: Connection) -> dict[str, int]:
    """Return the current version of every catalog, by id."""
    rows = connection.execute(select(catalog.c.id, catalog.c.current_version))
    return {row.id: row.current_version for row in rows.all()}


def catalog_editions(connection: Connection) -> dict[str, Edition]:
    """Return which content is current of every catalog, by id."""
    rows = connection.execute(_EDITIONS)
    return {id_: Edition(version, addition) for id_, version, addition in rows.all()}


def current_edition(connection: Connection, catalog_id: str) -> Edition:
    """Return which content of a catalog is current. Raises NotFoundError."""
    row = connection.execute(_EDITION, {"catalog": catalog_id}).one_or_none()
    if row is None:
        raise NotFoundError(f"catalog {catalog_id!r} does not exist")
    return Edition(row.current_version, row.addition)


def step_from_row(row: Row[Any]) -> VersionStep:
    """Return a row of `plan_version` as a step of its plan."""
    return VersionStep(row.version, row.since_ms, Migration(row.migration))


def get_catalog(
    connection: Connection, library: CatalogLibrary, catalog_id: str, version: int | None = None
) -> StoredCatalog:
    """Return a catalog version, else the current one. Raises NotFoundError."""
    require_id("catalog", catalog_id)
    if version is not None and version < 1:
        raise InvalidArgumentError("version", f"{version} is not a version; they count from 1")
    number = current_edition(connection, catalog_id).version if version is None else version
    loaded = library.load(connection, catalog_id, version)
    return StoredCatalog(
        _summary(connection, loaded, number),
        stored_document(connection, catalog_id, number),
        loaded,
    )


def list_catalogs(connection: Connection, library: CatalogLibrary) -> list[CatalogSummary]:
    """Return the current version of every catalog, by id."""
    return [
        _summary(connection, library.load(connection, catalog_id, version), version)
        for catalog_id, version in sorted(catalog_versions(connection).items())
    ]


def _summary(connection: Connection, loaded: Catalog, version: int) -> CatalogSummary:
    stored = catalog_version
    applied_at_ms = connection.execute(
        select(stored.c.applied_at_ms).where(
            stored.c.catalog_id == loaded.id, stored.c.version == version
        )
    ).scalar_one()
    customers = connection.execute(
        select(func.count()).select_from(customer).where(customer.c.catalog_id == loaded.id)
    ).scalar_one()
    return CatalogSummary(
        catalog=loaded.id,
        version=version,
        applied_at_ms=applied_at_ms,
        features=len(loaded.features),
        plans=len(loaded.plans),
        add_ons=len(loaded.add_ons),
        customers=customers,
    )


def stored_document(connection: Connection, catalog_id: str, version: int) -> str:
    """Return a version's document as it was applied. Raises NotFoundError."""
    text: str | None = connection.scalar(_DOCUMENT, {"catalog": catalog_id, "version": version})
    if text is None:
        raise NotFoundError(f"catalog {catalog_id!r} has no version {version}")
    return text


def _plan_numbers(connection: Connection, catalog_id: str, version: int) -> Mapping[str, int]:
    """Return the number that each plan had in a catalog version; of a plan, they only grow."""
    query = (
        select(plan_version.c.plan_id, func.max(plan_version.c.version).label("number"))
        .where(plan_version.c.catalog_id == catalog_id, plan_version.c.catalog_version <= version)
        .group_by(plan_version.c.plan_id)
    )
    return {row.plan_id: row.number for row in connection.execute(query)}


def _late_plans(connection: Connection, catalog_id: str) -> dict[str, list[Row[Any]]]:
    """Return the versions of plans of which some follower may be on an older one, oldest first.

    Versions that nobody can be on any more are left out.
    """
    plans: dict[str, list[Row[Any]]] = {}
    for row in connection.execute(_LATE_PLANS, {"catalog": catalog_id}):
        rows = plans.setdefault(row.plan_id, [])
        if row.migration == Migration.NOW.value and not _is_late(rows):
            rows.clear()
        rows.append(row)
    return plans


def _is_late(rows: list[Row[Any]]) -> bool:
    return any(row.migration != Migration.NOW.value for row in rows[1:])


def _waited_on(rows: list[Row[Any]]) -> list[tuple[str, int, int]]:
    """List the versions before those that do not come to everybody at once."""
    return [
        (before.plan_id, before.version, before.catalog_version)
        for before, row in pairwise(rows)
        if row.migration != Migration.NOW.value
    ]


def _pinned_versions(connection: Connection, catalog_id: str) -> list[tuple[str, int, int]]:
    """List the plan versions that active subscriptions name, and what catalog version made them."""
    rows = connection.execute(_PINNED_VERSIONS, {"catalog": catalog_id})
    return [(plan, version, made_by) for plan, version, made_by in rows.all()]


# Built once: putting a statement together costs more than running it.

_CATALOG: Final = bindparam("catalog", type_=String)
_EDITIONS: Final = select(catalog.c.id, catalog.c.current_version, catalog.c.addition)
_EDITION: Final = _EDITIONS.where(catalog.c.id == _CATALOG)
_DOCUMENT: Final = select(catalog_version.c.document).where(
    catalog_version.c.catalog_id == _CATALOG,
    catalog_version.c.version == bindparam("version", type_=BigInteger),
)
_late = plan_version.alias("late")
_LATE_PLANS: Final = (
    select(plan_version)
    .where(
        plan_version.c.catalog_id == _CATALOG,
        plan_version.c.plan_id.in_(
            select(_late.c.plan_id).where(
                _late.c.catalog_id == _CATALOG, _late.c.migration != Migration.NOW.value
            )
        ),
    )
    .order_by(plan_version.c.plan_id, plan_version.c.version)
)
_PINNED_VERSIONS: Final = (
    select(plan_version.c.plan_id, plan_version.c.version, plan_version.c.catalog_version)
    .distinct()
    .select_from(subscription)
    .join(customer, customer.c.id == subscription.c.customer_id)
    .join(
        plan_version,
        (plan_version.c.catalog_id == customer.c.catalog_id)
        & (plan_version.c.plan_id == subscription.c.plan_id)
        & (plan_version.c.version == subscription.c.plan_version),
    )
    .where(
        customer.c.catalog_id == _CATALOG,
        subscription.c.plan_version.is_not(None),
        subscription.c.status != SubscriptionStatus.CANCELED.value,
    )
)
