"""Subscriptions: which plan a customer or resource is on, and will be. One at a time."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from control_plane.provisioning.catalogs import CatalogLibrary
from control_plane.provisioning.changing import (
    load_record,
    owner,
    require_customer,
    require_resource,
    take_version,
)
from control_plane.provisioning.checks import (
    ADD_ONS_MAX,
    named_few,
    require_distinct,
    require_few,
    require_instant,
)
from control_plane.provisioning.holding import PlanChange, require_kept
from control_plane.provisioning.loading import CustomerRecord
from control_plane.provisioning.planning import (
    ChangeTime,
    WantedSubscription,
    is_alike,
    is_the_same,
    plan_ahead,
)
from control_plane.provisioning.timeline import (
    Timeline,
    close_ended,
    drop_coming,
    end_subscription,
    insert_row,
    load_timeline,
    require_current,
    set_row,
    was_on_plan,
)
from control_plane.provisioning.versions import carry_version
from weighbridge.rules.catalog import (
    Catalog,
    Subscription,
    Trial,
)
from weighbridge.rules.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from weighbridge.rules.lifecycle import period_end_ms
from weighbridge.rules.units import QUANTITY_MAX, TRIAL_DAYS_MAX, require_id


def set_subscription(
    connection: Connection, library: CatalogLibrary, wanted: WantedSubscription, now_ms: int
) -> CustomerRecord:
    """Put a customer or resource on a plan, now or when the current period ends.

    What was to happen at the end of the period is taken back. The subscription that stands goes
    on where it is what is wanted; otherwise it ends when the new one begins. Raises
    FailedPreconditionError where the new one allows less than is held of an allocation.
    """
    row = require_customer(connection, "customer", wanted.customer)
    require_resource(connection, wanted.customer, wanted.resource)
    catalog = library.load(connection, row.catalog_id)
    require_offered(catalog, wanted)
    timeline = load_timeline(connection, wanted.customer, wanted.resource, now_ms)
    current = timeline.current
    if current is not None and is_the_same(current, wanted):
        _go_on(connection, wanted.customer, timeline, current, now_ms)
        return load_record(connection, wanted.customer)
    starts_at_ms = now_ms
    if wanted.when is ChangeTime.PERIOD_END:
        starts_at_ms = _period_end(current, wanted.customer, wanted.resource, now_ms)
    trial = _trial_of(connection, catalog, wanted)
    planned = plan_ahead(wanted, timeline, trial, starts_at_ms)
    if _is_to_come(timeline, planned):
        return load_record(connection, wanted.customer)
    new = planned[0]
    if new.plan_version is not None:
        carry_version(connection, library, catalog, new.plan, new.plan_version)
    change = PlanChange(wanted.customer, current, new, starts_at_ms)
    require_kept(connection, library, catalog, change)
    version = take_version(connection, wanted.customer, now_ms)
    close_ended(connection, wanted.customer, wanted.resource, now_ms)
    drop_coming(connection, timeline.coming)
    if current is not None and starts_at_ms > now_ms:
        set_row(connection, current, {"ends_at_ms": starts_at_ms})
    elif current is not None:
        end_subscription(connection, current, now_ms)
    _insert(connection, wanted.customer, planned, version, now_ms)
    return load_record(connection, wanted.customer)


def cancel_subscription(
    connection: Connection,
    customer_id: str,
    resource_id: str,
    now_ms: int,
    when: ChangeTime = ChangeTime.NOW,
) -> CustomerRecord:
    """End the subscription of a customer or resource, now or when the current period ends."""
    require_customer(connection, "customer", customer_id)
    require_resource(connection, customer_id, resource_id)
    current = require_current(connection, customer_id, resource_id, now_ms)
    ends_at_ms = now_ms
    if when is ChangeTime.PERIOD_END:
        ends_at_ms = _period_end(current, customer_id, resource_id, now_ms)
    return set_subscription_end(connection, (customer_id, resource_id), ends_at_ms, now_ms)


def set_subscription_end(
    connection: Connection, owned: tuple[str, str], ends_at_ms: int | None, now_ms: int
) -> CustomerRecord:
    """Have the subscription of a (customer, resource) end at an instant; None: go on.

    What was to come is taken back. A trial that goes on ends all the same.
    """
    customer_id, resource_id = owned
    require_customer(connection, "customer", customer_id)
    require_resource(connection, customer_id, resource_id)
    current = require_current(connection, customer_id, resource_id, now_ms)
    timeline = load_timeline(connection, customer_id, resource_id, now_ms)
    if ends_at_ms is None:
        _go_on(connection, customer_id, timeline, current, now_ms)
    elif timeline.coming or current.ends_at_ms != ends_at_ms:
        require_instant("ends_at_unix_ms", ends_at_ms)
        take_version(connection, customer_id, now_ms)
        drop_coming(connection, timeline.coming)
        if ends_at_ms > now_ms:
            set_row(connection, current, {"ends_at_ms": ends_at_ms})
        else:
            end_subscription(connection, current, now_ms)
    return load_record(connection, customer_id)


def _go_on(
    connection: Connection,
    customer_id: str,
    timeline: Timeline,
    current: Subscription,
    now_ms: int,
) -> None:
    """Have the subscription that stands go on, whatever was to come. A trial ends all the same."""
    if current.is_trial:
        return
    if timeline.coming or current.ends_at_ms is not None:
        take_version(connection, customer_id, now_ms)
        drop_coming(connection, timeline.coming)
        set_row(connection, current, {"ends_at_ms": None})


def _period_end(
    current: Subscription | None, customer_id: str, resource_id: str, now_ms: int
) -> int:
    if current is None:
        raise FailedPreconditionError(
            f"{owner(customer_id, resource_id)} has no active subscription whose period could end; "
            "leave out when"
        )
    if current.is_trial and current.ends_at_ms is not None:
        return current.ends_at_ms
    return period_end_ms(current.anchor_ms, now_ms)


def _is_to_come(timeline: Timeline, planned: tuple[Subscription, ...]) -> bool:
    return len(timeline.coming) == len(planned) and all(map(is_alike, timeline.coming, planned))


def _insert(
    connection: Connection,
    customer_id: str,
    planned: tuple[Subscription, ...],
    version: int,
    now_ms: int,
) -> None:
    for index, each in enumerate(planned):
        id_ = f"sub-{version}" if index == 0 else f"sub-{version}.{index}"
        insert_row(connection, customer_id, replace(each, id=id_), now_ms)


def _trial_of(connection: Connection, catalog: Catalog, wanted: WantedSubscription) -> Trial | None:
    """Return the trial of a plan, for a customer or resource that never was on it."""
    plan = catalog.plan(wanted.plan)
    if plan is None or was_on_plan(connection, wanted.customer, wanted.resource, wanted.plan):
        return None
    return plan.trial


def insert_first(
    connection: Connection,
    catalog: Catalog,
    wanted: WantedSubscription,
    version: int,
    now_ms: int,
) -> None:
    """Insert the subscription of a customer who has none so far; what is wanted is checked."""
    trial = _trial_of(connection, catalog, wanted)
    planned = plan_ahead(wanted, Timeline(None, ()), trial, now_ms)
    _insert(connection, wanted.customer, planned, version, now_ms)


def require_offered(catalog: Catalog, wanted: WantedSubscription) -> None:
    """Check the wish itself, then that the catalog has the plan and the add-ons."""
    require_id("plan", wanted.plan)
    if wanted.anchor_ms is not None:
        require_instant("anchor_unix_ms", wanted.anchor_ms)
    _require_terms(catalog, wanted)
    require_few("add_ons", wanted.add_ons, ADD_ONS_MAX)
    for index, add_on in enumerate(wanted.add_ons):
        require_id(f"add_ons[{index}].add_on", add_on.add_on)
        if not 1 <= add_on.quantity <= QUANTITY_MAX:
            raise InvalidArgumentError(
                f"add_ons[{index}].quantity", f"{add_on.quantity} is not 1 to {QUANTITY_MAX}"
            )
    require_distinct("add_ons", (add_on.add_on for add_on in wanted.add_ons))
    if catalog.plan(wanted.plan) is None:
        raise NotFoundError(
            f"plan {wanted.plan!r} is not in catalog {catalog.id!r}; "
            f"it has {named_few(catalog.plans)}"
        )
    for subscribed in wanted.add_ons:
        _require_add_on(catalog, subscribed.add_on, wanted.plan)


def _require_add_on(catalog: Catalog, add_on_id: str, plan: str) -> None:
    add_on = catalog.add_ons.get(add_on_id)
    if add_on is None:
        raise NotFoundError(
            f"add-on {add_on_id!r} is not in catalog {catalog.id!r}; "
            f"it has {named_few(catalog.add_ons)}"
        )
    if not add_on.suits(plan):
        raise FailedPreconditionError(
            f"add-on {add_on_id!r} cannot be added to plan {plan!r}, only to "
            f"{named_few(add_on.plans)}"
        )


def _require_terms(catalog: Catalog, wanted: WantedSubscription) -> None:
    if wanted.quantity is not None and not 1 <= wanted.quantity <= QUANTITY_MAX:
        raise InvalidArgumentError("quantity", f"{wanted.quantity} is not 1 to {QUANTITY_MAX}")
    if wanted.trial_days is not None and not 0 <= wanted.trial_days <= TRIAL_DAYS_MAX:
        raise InvalidArgumentError(
            "trial_days", f"{wanted.trial_days} is not 0 to {TRIAL_DAYS_MAX}"
        )
    if wanted.trial_then:
        require_id("trial_then", wanted.trial_then)
        if catalog.plan(wanted.trial_then) is None:
            raise NotFoundError(
                f"plan {wanted.trial_then!r} is not in catalog {catalog.id!r}; "
                f"it has {named_few(catalog.plans)}"
            )
