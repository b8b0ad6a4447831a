"""Upgrade hints: which add-on or plan would have allowed what was refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from weighbridge.rules.catalog import (
    Catalog,
    CreditDraw,
    Entitlement,
    FeatureType,
    PlanVersion,
)
from weighbridge.rules.decision import LimitState, UpgradeHint, decide_metered, decide_plain
from weighbridge.rules.entitlement import (
    Entitlements,
    PlanCompiler,
    with_add_ons,
    with_overrides,
)
from weighbridge.rules.granting import Grant
from weighbridge.rules.rate import Rate, would_admit


class Question(NamedTuple):
    """What a refused call wanted, to see who would have allowed it.

    Where a spend limit refused, `feature` is the spend feature, `amount` is in micros, and
    `spent_on` is the feature that was asked for: a plan without that limit has no bound.
    """

    feature: str
    feature_type: FeatureType
    amount: int | None
    value: str
    states: Sequence[LimitState]
    now_ms: int
    refused_by: Rate | None = None
    spent_on: str = ""
    # The type of which the customer has no credits left.
    exhausted: str = ""


def upgrade_hints(
    compiler: PlanCompiler, grant: Grant, question: Question
) -> tuple[UpgradeHint, ...]:
    """List what would have allowed the call: first add-ons of the plan, then plans above it.

    Overrides outlast an upgrade, so what they replace stays replaced.
    """
    hints: list[UpgradeHint] = []
    catalog = compiler.catalog
    seats = grant.subscription.quantity
    own = compiler.entitlements(grant.plan, grant.subscription.add_ons, seats)
    for add_on in catalog.add_ons.values():
        if add_on.suits(grant.plan.plan) and question.feature in add_on.entitlements:
            upgraded = with_overrides(with_add_ons(own, [(add_on, 1)]), grant.overrides)
            if _would_allow(upgraded, question):
                hints.append(UpgradeHint("", add_on.id, add_on.name, add_on.offer))
    for plan in _plans_above(catalog, grant.plan):
        upgraded = with_overrides(compiler.entitlements(plan, (), seats), grant.overrides)
        if _would_allow(upgraded, question):
            hints.append(UpgradeHint(plan.plan, "", plan.name, plan.offer))
    return tuple(hints)


def _plans_above(catalog: Catalog, plan: PlanVersion) -> list[PlanVersion]:
    """Follow `upgrades_to` from a plan, nearest first, each plan once."""
    found: dict[str, PlanVersion] = {}
    queue = list(plan.upgrades_to)
    while queue:
        name = queue.pop(0)
        above = catalog.plan(name)
        if above is not None and name not in found and name != plan.plan:
            found[name] = above
            queue.extend(above.upgrades_to)
    return list(found.values())


def _is_paid_with(entitlement: Entitlement, credit_type: str) -> bool:
    """Whether nothing passes without credits of a type."""
    credit = entitlement.credit
    return credit is not None and credit == CreditDraw(credit_type)


def _would_allow(entitlements: Entitlements, question: Question) -> bool:
    entitlement = entitlements.get(question.feature)
    if question.spent_on:
        used = entitlements.get(question.spent_on)
        if used is None or not used.enabled:
            return False
        if entitlement is None or not entitlement.enabled:
            return True
    if entitlement is None or not entitlement.enabled:
        return False
    if question.exhausted and _is_paid_with(entitlement, question.exhausted):
        return False
    if question.feature_type is not FeatureType.METERED:
        return decide_plain(
            question.feature_type, entitlement, question.amount, question.value
        ).allowed
    # Usage of a window that was not counted so far is taken as 0; the upgrade starts it.
    counted = {state.limit.window.key: state for state in question.states}
    states = []
    for limit in entitlement.limits:
        state = counted.get(limit.window.key)
        states.append(LimitState(limit, None, 0) if state is None else state._replace(limit=limit))
    amount = 1 if question.amount is None else question.amount
    # How fast the customer would have been under another rate is not known: it starts full.
    return decide_metered(states, amount, question.now_ms).allowed and all(
        would_admit(rate, amount, question.refused_by) for rate in entitlement.rates
    )
