"""Outage policy: what is answered for metered usage while the control plane is away.

Why a policy and not always the last totals: they grow old, since other sidecars' usage is not seen.
In every policy, a customer whose limit was already reached when the outage began stays refused, and
what the snapshot alone decides (booleans, numbers, enums) is answered as before. What is held can
be released under every policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from weighbridge.rules.catalog import LimitKind, OutageKind, OutagePolicy
from weighbridge.rules.decision import ALLOWED, LimitState, Reason, Verdict, refused

UsageKey = tuple[str, str, str]
"""Customer, resource and feature."""


class OutageSpending:
    """What was admitted since the outage began; of an allocation, less what was released.

    It is below 0 where more was released: what is held may then grow back to where it was.
    """

    def __init__(self) -> None:
        self._spent: dict[UsageKey, int] = {}

    def spent(self, key: UsageKey) -> int:
        """Return the units admitted during this outage."""
        return self._spent.get(key, 0)

    def add(self, key: UsageKey, amount: int) -> None:
        """Count units admitted under a policy; a negative amount takes them back."""
        self._spent[key] = self._spent.get(key, 0) + amount

    def end(self) -> None:
        """Forget what was admitted: the control plane is back."""
        if self._spent:
            self._spent.clear()


class Spent(NamedTuple):
    """Limits of the customer, or of one above it, and what was admitted of them in this outage."""

    states: Sequence[LimitState]
    units: int


def apply_outage_policy(
    policy: OutagePolicy, verdict: Verdict, spent: Sequence[Spent], amount: int
) -> Verdict:
    """Return what the policy makes of the verdict that the last totals give.

    It holds for the customer, and for each one above it of whom `spent` tells.
    """
    match policy.kind:
        case OutageKind.LAST_KNOWN:
            return verdict
        case OutageKind.DENY | OutageKind.LEASED:
            is_all = policy.kind is OutageKind.DENY
            is_denied = is_all or any(_has_hard_limit(each.states) for each in spent)
            is_asked = verdict.allowed and amount > 0
            return refused(Reason.OUTAGE_POLICY) if is_denied and is_asked else verdict
        case OutageKind.ALLOW:
            if verdict.allowed or any(_was_reached_before(*each) for each in spent):
                return verdict
            return ALLOWED
        case OutageKind.SAFE_CAPACITY:
            left = policy.capacity - max(each.units for each in spent)
            if verdict.allowed and amount > max(left, 0):
                return refused(Reason.OUTAGE_POLICY)._replace(allowed_amount=max(left, 0) or None)
            return verdict


def _has_hard_limit(states: Sequence[LimitState]) -> bool:
    return any(
        state.limit.kind is LimitKind.HARD and state.limit.limit is not None for state in states
    )


def _was_reached_before(states: Sequence[LimitState], spent: int) -> bool:
    return any(
        state.limit.kind is LimitKind.HARD
        and state.limit.limit is not None
        and state.used - spent >= state.limit.limit
        for state in states
    )
