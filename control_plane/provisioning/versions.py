"""Plan versions that subscriptions are on, so that sidecars have them before they need them."""

from __future__ import annotations

from sqlalchemy import Connection, update

from control_plane.provisioning.catalogs import CatalogLibrary
from control_plane.storage import tables
from weighbridge.rules.catalog import Catalog, PlanVersion
from weighbridge.rules.errors import FailedPreconditionError


def carry_version(
    connection: Connection, library: CatalogLibrary, catalog: Catalog, plan: str, version: int
) -> None:
    """Have the catalog carry a version of a plan, before a subscription keeps it.

    `catalog` is the current one. Raises NotFoundError where the plan never had that version, and
    FailedPreconditionError where the version grants what the catalog has no more.
    """
    if version in catalog.plans.get(plan, ()):
        return
    _require_features(catalog, library.plan_version(connection, catalog.id, plan, version))
    table = tables.catalog
    connection.execute(
        update(table).where(table.c.id == catalog.id).values(addition=table.c.addition + 1)
    )


def _require_features(catalog: Catalog, old: PlanVersion) -> None:
    for entitlement in old.entitlements.values():
        feature = catalog.features.get(entitlement.feature)
        if feature is None or not feature.takes(entitlement):
            raise FailedPreconditionError(
                f"version {old.version} of plan {old.plan!r} grants feature "
                f"{entitlement.feature!r}, which catalog {catalog.id!r} has no more, or as another "
                "type; choose a later version"
            )
