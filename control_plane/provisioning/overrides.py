"""Overrides: negotiated or promotional entitlements of one customer or resource."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select

from control_plane.provisioning.catalogs import CatalogLibrary
from control_plane.provisioning.changing import (
    load_record,
    owner,
    require_customer,
    require_resource,
    take_version,
)
from control_plane.provisioning.checks import named_few, require_instant
from control_plane.provisioning.completing import complete_entitlement, require_fitting
from control_plane.provisioning.loading import CustomerRecord
from control_plane.provisioning.parents import ancestors_of
from control_plane.provisioning.rows import entitlement_to_row, override_from_row
from control_plane.provisioning.timeline import load_timeline
from control_plane.provisioning.wanted import WantedEntitlement
from control_plane.storage.tables import override
from weighbridge.rules.catalog import Entitlement, Override, Subscription
from weighbridge.rules.errors import InvalidArgumentError, NotFoundError
from weighbridge.rules.units import require_id


@dataclass(frozen=True, slots=True)
class WantedOverride:
    """What one feature is to grant a customer, from `starts_at_ms` until `expires_at_ms`."""

    customer: str
    entitlement: WantedEntitlement
    resource: str = ""
    starts_at_ms: int | None = None
    expires_at_ms: int | None = None


def set_override(
    connection: Connection, library: CatalogLibrary, wanted: WantedOverride, now_ms: int
) -> CustomerRecord:
    """Set the override of one feature, in place of the one there is.

    Setting it again as it is changes nothing.
    """
    row = require_customer(connection, "customer", wanted.customer)
    require_resource(connection, wanted.customer, wanted.resource)
    _require_span(wanted)
    catalog = library.load(connection, row.catalog_id)
    feature_id = require_id("entitlement.feature", wanted.entitlement.feature)
    feature = catalog.features.get(feature_id)
    if feature is None:
        raise NotFoundError(
            f"feature {feature_id!r} is not in catalog {catalog.id!r}; "
            f"it has {named_few(catalog.features)}"
        )
    require_fitting(feature, wanted.entitlement)
    subscription = _subscription(connection, wanted, now_ms)
    entitlement = complete_entitlement(catalog, subscription, wanted.entitlement, now_ms)
    if not _is_the_same(_existing(connection, wanted), entitlement, wanted):
        _replace(connection, wanted, entitlement, now_ms)
    return load_record(connection, wanted.customer)


def remove_override(
    connection: Connection, customer_id: str, resource_id: str, feature_id: str, now_ms: int
) -> CustomerRecord:
    """Remove the override of one feature. Raises NotFoundError where there is none."""
    require_customer(connection, "customer", customer_id)
    require_resource(connection, customer_id, resource_id)
    require_id("feature", feature_id)
    removed = connection.execute(
        delete(override).where(
            override.c.customer_id == customer_id,
            override.c.resource_id == resource_id,
            override.c.feature_id == feature_id,
        )
    )
    if not removed.rowcount:
        raise NotFoundError(
            f"{owner(customer_id, resource_id)} has no override of feature {feature_id!r}"
        )
    take_version(connection, customer_id, now_ms)
    return load_record(connection, customer_id)


def _subscription(
    connection: Connection, wanted: WantedOverride, now_ms: int
) -> Subscription | None:
    """Return the subscription that stands: its own, or that of the nearest above it."""
    current = load_timeline(connection, wanted.customer, wanted.resource, now_ms).current
    if current is not None or wanted.resource:
        return current
    for ancestor in ancestors_of(connection, wanted.customer):
        current = load_timeline(connection, ancestor, "", now_ms).current
        if current is not None:
            return current
    return None


def _require_span(wanted: WantedOverride) -> None:
    starts_at_ms, expires_at_ms = wanted.starts_at_ms, wanted.expires_at_ms
    if starts_at_ms is not None:
        require_instant("starts_at_unix_ms", starts_at_ms)
    if expires_at_ms is not None:
        require_instant("expires_at_unix_ms", expires_at_ms)
        if starts_at_ms is not None and expires_at_ms <= starts_at_ms:
            raise InvalidArgumentError(
                "expires_at_unix_ms", f"{expires_at_ms} is not after starts_at_unix_ms"
            )


def _existing(connection: Connection, wanted: WantedOverride) -> Override | None:
    row = connection.execute(select(override).where(_is_of(wanted))).one_or_none()
    return None if row is None else override_from_row(row)


def _is_of(wanted: WantedOverride) -> ColumnElement[bool]:
    return and_(
        override.c.customer_id == wanted.customer,
        override.c.resource_id == wanted.resource,
        override.c.feature_id == wanted.entitlement.feature,
    )


def _is_the_same(
    existing: Override | None, entitlement: Entitlement, wanted: WantedOverride
) -> bool:
    return (
        existing is not None
        and existing.entitlement == entitlement
        and existing.starts_at_ms == wanted.starts_at_ms
        and existing.expires_at_ms == wanted.expires_at_ms
    )


def _replace(
    connection: Connection, wanted: WantedOverride, entitlement: Entitlement, now_ms: int
) -> None:
    version = take_version(connection, wanted.customer, now_ms)
    connection.execute(delete(override).where(_is_of(wanted)))
    connection.execute(
        insert(override).values(
            id=f"override-{version}",
            customer_id=wanted.customer,
            resource_id=wanted.resource,
            feature_id=entitlement.feature,
            entitlement=entitlement_to_row(entitlement),
            starts_at_ms=wanted.starts_at_ms,
            expires_at_ms=wanted.expires_at_ms,
        )
    )
