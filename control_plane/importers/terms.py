"""What a subscription's prices come to: a plan, add-ons and seats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from control_plane.importers.config import StripeImport
from control_plane.importers.stripe_shapes import SubscriptionItem
from weighbridge.rules.catalog import SubscribedAddOn
from weighbridge.rules.errors import FailedPreconditionError, NotFoundError


class Terms(NamedTuple):
    """A plan, with add-ons in order, for so many seats."""

    plan: str
    add_ons: tuple[SubscribedAddOn, ...]
    seats: int


def terms_of(config: StripeImport, items: Iterable[SubscriptionItem]) -> Terms:
    """Return what items come to. Raises NotFoundError and FailedPreconditionError naming a price.

    Seats are those of prices that are for seats, else the quantity of the plan's.
    """
    plans: dict[str, int] = {}
    add_ons: Counter[str] = Counter()
    seats = 0
    for item in items:
        rule = config.rule(item.price.id, item.price.product)
        if rule is None:
            raise unmapped(item.price.id)
        count = (1 if item.quantity is None else item.quantity) * rule.times
        if rule.plan is not None:
            plans[rule.plan] = count
        elif rule.add_on is not None:
            add_ons[rule.add_on] += count
        elif rule.is_seats:
            seats += count
    if len(plans) != 1:
        named = ", ".join(sorted(plans)) or "none"
        raise FailedPreconditionError(f"a subscription has one plan; its prices mean {named}")
    ((plan, quantity),) = plans.items()
    bought = tuple(SubscribedAddOn(*each) for each in sorted(add_ons.items()) if each[1])
    return Terms(plan, bought, max(1, seats or quantity))


def unmapped(price: str) -> NotFoundError:
    """Return the error for a price of which nobody said what it means."""
    what = f"price {price!r} is" if price else "a line has no price, so it is"
    return NotFoundError(f"{what} not in the file of imports; say there what it means")
