"""Customers as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from weighbridge.cli.credit_view import draw_text
from weighbridge.cli.instants import format_instant
from weighbridge.cli.json_shapes import enum_label, message_to_json
from weighbridge.cli.output import facts, listing, listing_or, print_human, print_json, titled
from weighbridge.cli.rate_text import rate_text
from weighbridge.cli.window_text import window_text
from weighbridge.v1 import sync_service_pb2, types_pb2
from weighbridge.v1.admin_service_pb2 import Customer

_STYLE: Final = {
    types_pb2.CUSTOMER_STATUS_ACTIVE: "green",
    types_pb2.CUSTOMER_STATUS_ARCHIVED: "yellow",
    types_pb2.CUSTOMER_STATUS_REVOKED: "red",
}
_COLUMNS: Final = (
    "customer",
    "name",
    "catalog",
    "parent",
    "status",
    "plan",
    "resources",
    "created",
)
_SUBSCRIPTION_COLUMNS: Final = (
    "plan",
    "version",
    "resource",
    "status",
    "seats",
    "add-ons",
    "anchor",
    "starts",
    "ends",
)
_OVERRIDE_COLUMNS: Final = ("feature", "resource", "grants", "from", "until")


def customers_table(customers: Iterable[Customer]) -> RenderableType:
    """Return a line per customer."""
    return listing_or("no customers", _COLUMNS, [_customer_row(each) for each in customers])


def _customer_row(customer: Customer) -> tuple[str | Text, ...]:
    plans = [_plan(subscription) for subscription in customer.subscriptions]
    return (
        customer.id,
        customer.name,
        customer.catalog,
        customer.parent,
        _status(customer),
        ", ".join(plans),
        ", ".join(customer.resources),
        format_instant(customer.created_at_unix_ms),
    )


def _status(customer: Customer) -> Text:
    label = enum_label(types_pb2.CustomerStatus.DESCRIPTOR, customer.status) or ""
    return Text(label.lower(), style=_STYLE.get(customer.status, ""))


def _plan(subscription: sync_service_pb2.Subscription) -> str:
    where = f"{subscription.resource}: " if subscription.resource else ""
    ended = subscription.status == types_pb2.SUBSCRIPTION_STATUS_CANCELED
    return f"{where}{subscription.plan}{' (canceled)' if ended else ''}"


def show_customer(customer: Customer, *, as_json: bool) -> None:
    """Print a customer, the way every command that changes one ends."""
    if as_json:
        print_json({"customer": message_to_json(customer)})
    else:
        print_human(customer_view(customer))


def customer_view(customer: Customer) -> Group:
    """Return one customer with its subscriptions and overrides."""
    parts: list[RenderableType] = [
        facts(
            [
                ("customer", customer.id),
                ("name", customer.name),
                ("catalog", customer.catalog),
                ("parent", customer.parent),
                ("status", _status(customer)),
                ("version", str(customer.version)),
                ("resources", ", ".join(customer.resources)),
                ("created", format_instant(customer.created_at_unix_ms)),
            ]
        )
    ]
    if customer.subscriptions:
        subscriptions = [_subscription_row(each) for each in customer.subscriptions]
        parts.append(titled("Subscriptions", listing(_SUBSCRIPTION_COLUMNS, subscriptions)))
    if customer.overrides:
        overrides = [_override_row(each) for each in customer.overrides]
        parts.append(titled("Overrides", listing(_OVERRIDE_COLUMNS, overrides)))
    return Group(*parts)


def _subscription_row(subscription: sync_service_pb2.Subscription) -> tuple[str, ...]:
    fixed = subscription.HasField("plan_version")
    ends = subscription.HasField("ends_at_unix_ms")
    status = (
        enum_label(types_pb2.SubscriptionStatus.DESCRIPTOR, subscription.status) or ""
    ).lower()
    if subscription.is_trial:
        status += " trial"
    if subscription.HasField("status_until_unix_ms"):
        status += f" until {format_instant(subscription.status_until_unix_ms)}"
    return (
        subscription.plan,
        str(subscription.plan_version) if fixed else "follows",
        subscription.resource,
        status,
        str(subscription.quantity),
        ", ".join(f"{added.quantity} x {added.add_on}" for added in subscription.add_ons),
        format_instant(subscription.anchor_unix_ms),
        format_instant(subscription.starts_at_unix_ms),
        format_instant(subscription.ends_at_unix_ms) if ends else "",
    )


def _override_row(override: sync_service_pb2.Override) -> tuple[str, ...]:
    starts, expires = (
        format_instant(getattr(override, name)) if override.HasField(name) else ""
        for name in ("starts_at_unix_ms", "expires_at_unix_ms")
    )
    grant = grant_text(override.entitlement)
    return override.entitlement.feature, override.resource, grant, starts, expires


def grant_text(entitlement: types_pb2.Entitlement, *, is_counted: bool = False) -> str:
    """Return what an entitlement grants, such as `month 1,000 (hard, calendar month)`.

    `is_counted`: of a metered or number feature, where no limit means unlimited.
    """
    if not entitlement.enabled:
        return "no"
    if entitlement.HasField("number"):
        return f"{entitlement.number:,}"
    if entitlement.values:
        return ", ".join(entitlement.values)
    bounds = [_limit_text(limit) for limit in entitlement.limits]
    bounds += [f"{rate.id} {rate_text(rate)}" for rate in entitlement.rates]
    if entitlement.HasField("credits"):
        bounds.append(draw_text(entitlement.credits))
    if bounds:
        return "; ".join(bounds)
    return "unlimited" if is_counted else "yes"


def _limit_text(limit: types_pb2.Limit) -> str:
    amount = f"{limit.limit:,}" if limit.HasField("limit") else "unlimited"
    kind = (enum_label(types_pb2.LimitKind.DESCRIPTOR, limit.kind) or "").lower()
    terms = ", ".join(part for part in (kind, window_text(limit.window)) if part)
    amount += " per seat" if limit.per_seat else ""
    return f"{limit.id} {amount} ({terms})" if terms else f"{limit.id} {amount}"
