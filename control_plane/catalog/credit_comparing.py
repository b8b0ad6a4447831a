"""Credits as trees of texts, to be compared: types, costs, draws, grants, top-ups."""

from __future__ import annotations

from collections.abc import Iterable

from control_plane.catalog.tree import Tree, without_empty
from weighbridge.rules.catalog import AddOn, CreditDraw, LimitKind, PlanVersion
from weighbridge.rules.credits import (
    CreditCost,
    CreditGrant,
    CreditType,
    GrantExpiry,
    MoneyRate,
    TopUp,
    credits_of,
)
from weighbridge.rules.rating.money import plain


def credit_type_tree(credit_type: CreditType) -> Tree:
    """Write a credit type as a tree; a cost by its feature and match, for a million units."""
    costs: dict[str, Tree] = {
        _cost_key(cost): f"{credits_text(cost.micro)} per million"
        for costs in credit_type.costs.values()
        for cost in costs
    }
    return without_empty(
        {
            "name": credit_type.name,
            "unit": credit_type.unit,
            "decimals": str(credit_type.decimals),
            "worth": _rate_trees(credit_type.worth),
            "costs": costs,
            "notify_below": ", ".join(map(credits_text, credit_type.notify_below_micro)),
        }
    )


def draw_text(draw: CreditDraw | None) -> str:
    """Write what pays for a feature; "" where credits do not."""
    if draw is None:
        return ""
    return draw.credit_type + (" soft" if draw.kind is LimitKind.SOFT else "")


def credit_grant_trees(grants: Iterable[CreditGrant]) -> Tree:
    """Write grants as a tree, by id."""
    return {grant.id: _grant_tree(grant) for grant in grants}


def top_up_trees(top_ups: Iterable[TopUp]) -> Tree:
    """Write top-ups as a tree, by credit type."""
    return {top_up.credit_type: _top_up_tree(top_up) for top_up in top_ups}


def uses_credits(owner: PlanVersion | AddOn, credit_type: str) -> bool:
    """Whether a plan or add-on grants credits of the type, or has features paid with it."""
    return any(grant.credit_type == credit_type for grant in owner.credit_grants) or any(
        each.credit is not None and each.credit.credit_type == credit_type
        for each in owner.entitlements.values()
    )


def credits_text(micro: int) -> str:
    """Write micro-credits in credits."""
    return plain(credits_of(micro))


def _cost_key(cost: CreditCost) -> str:
    pairs = ", ".join(f"{name}={value}" for name, value in cost.match)
    return f"{cost.feature}[{pairs}]" if pairs else cost.feature


def _grant_tree(grant: CreditGrant) -> Tree:
    rollover = grant.rollover_micro
    return without_empty(
        {
            "type": grant.credit_type,
            "amount": credits_text(grant.micro),
            "kind": grant.kind.value,
            "every": "" if grant.every is None else grant.every.key,
            "per_seat": "true" if grant.per_seat else "",
            "priority": str(grant.priority),
            "starts_after_days": str(grant.starts_after_days or ""),
            "expires": _expiry_text(grant.expiry),
            "rollover_max": "" if rollover is None else credits_text(rollover),
        }
    )


def _top_up_tree(top_up: TopUp) -> Tree:
    cap = top_up.monthly_cap_micro
    return without_empty(
        {
            "threshold": credits_text(top_up.threshold_micro),
            "target": credits_text(top_up.target_micro),
            "monthly_cap": "" if cap is None else credits_text(cap),
            "price": _rate_trees(top_up.prices),
            "priority": str(top_up.priority),
            "expires": _expiry_text(top_up.expiry),
        }
    )


def _expiry_text(expiry: GrantExpiry) -> str:
    return f"after {expiry.days} days" if expiry.days else str(expiry.end.value)


def _rate_trees(rates: Iterable[MoneyRate]) -> Tree:
    return {
        rate.currency.code: plain(rate.amount) + (f" per {rate.per}" if rate.per > 1 else "")
        for rate in rates
    }
