"""One subscription by hand: have it keep a version of its plan, or follow the plan again."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from control_plane.provisioning.catalogs import CatalogLibrary
from control_plane.provisioning.changing import (
    load_record,
    require_customer,
    require_resource,
    take_version,
)
from control_plane.provisioning.holding import PlanChange, require_kept
from control_plane.provisioning.loading import CustomerRecord
from control_plane.provisioning.timeline import keep_before, require_current, set_row
from control_plane.provisioning.versions import carry_version
from weighbridge.rules.catalog import Subscription
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.lifecycle import plan_at


def pin_subscription(
    connection: Connection,
    library: CatalogLibrary,
    owner: tuple[str, str],
    plan_version: int | None,
    now_ms: int,
) -> CustomerRecord:
    """Have the subscription of a (customer, resource) keep a version; None: the one it is on.

    Raises NotFoundError where the plan never had that version, and FailedPreconditionError where
    that version grants what the catalog has no more, or allows less than is held.
    """
    if plan_version is not None and plan_version < 1:
        raise InvalidArgumentError("plan_version", f"{plan_version} is not a version; from 1")
    active, catalog_id = _require_current(connection, owner, now_ms)
    catalog = library.load(connection, catalog_id)
    on = plan_at(catalog, active, now_ms).plan
    number = plan_version if plan_version is not None or on is None else on.version
    if number is not None and number != active.plan_version:
        carry_version(connection, library, catalog, active.plan, number)
        after = replace(active, plan_version=number)
        change = PlanChange(owner[0], active, after, now_ms)
        require_kept(connection, library, catalog, change)
        _set(connection, owner[0], active, {"plan_version": number}, now_ms)
    return load_record(connection, owner[0])


def follow_plan(
    connection: Connection, library: CatalogLibrary, owner: tuple[str, str], now_ms: int
) -> CustomerRecord:
    """Move the subscription of a (customer, resource) to its plan's current version, to follow it.

    One that follows already and is held back by a migration moves, too. Raises
    FailedPreconditionError where that version allows less than is held.
    """
    active, catalog_id = _require_current(connection, owner, now_ms)
    catalog = library.load(connection, catalog_id)
    is_newest = plan_at(catalog, active, now_ms).plan is catalog.plan(active.plan)
    if active.plan_version is not None or not is_newest:
        after = replace(active, plan_version=None, on_plan_since_ms=now_ms)
        change = PlanChange(owner[0], active, after, now_ms)
        require_kept(connection, library, catalog, change)
        values: dict[str, int | str | None] = {"plan_version": None, "on_plan_since_ms": now_ms}
        _set(connection, owner[0], active, values, now_ms)
    return load_record(connection, owner[0])


def _require_current(
    connection: Connection, owner: tuple[str, str], now_ms: int
) -> tuple[Subscription, str]:
    customer_id, resource_id = owner
    row = require_customer(connection, "customer", customer_id)
    require_resource(connection, customer_id, resource_id)
    return require_current(connection, customer_id, resource_id, now_ms), row.catalog_id


def _set(
    connection: Connection,
    customer_id: str,
    active: Subscription,
    values: dict[str, int | str | None],
    now_ms: int,
) -> None:
    take_version(connection, customer_id, now_ms)
    keep_before(connection, active, now_ms)
    set_row(connection, active, values)
