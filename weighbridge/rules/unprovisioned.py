"""Customers nobody provisioned: what the default plan of a catalog gives an id nobody knows.

The same in both processes: a sidecar stands in the customer until its first usage is settled, and
the control plane then makes it, with the same windows.
"""

from __future__ import annotations

from typing import Final

from weighbridge.rules.catalog import (
    Catalog,
    Customer,
    CustomerStatus,
    Subscription,
    SubscriptionStatus,
)

ANCHOR_MS: Final = 0
"""Anniversaries are counted from 1970: the same on every sidecar, whoever is asked first."""

_NEWEST_MS: Final = 2**62


def default_subscription(plan: str) -> Subscription:
    """Return a subscription that follows the plan, with nothing that somebody would have set.

    It is always active, and on the newest version: whoever comes to a plan gets that.
    """
    return Subscription(
        id="default",
        resource="",
        plan=plan,
        plan_version=None,
        add_ons=(),
        status=SubscriptionStatus.ACTIVE,
        anchor_ms=ANCHOR_MS,
        starts_at_ms=0,
        on_plan_since_ms=_NEWEST_MS,
    )


def unprovisioned_customer(catalog: Catalog, customer: str, version: int) -> Customer:
    """Return what stands in for an id that did not exist at that revision."""
    return Customer(
        id=customer,
        version=version,
        status=CustomerStatus.ACTIVE,
        catalog=catalog.id,
        catalog_version_min=catalog.version,
        catalog_addition_min=catalog.addition,
        subscriptions=(default_subscription(catalog.default_plan),),
    )
