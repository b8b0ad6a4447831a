"""The decision: is this allowed, and why not. Pure functions that take `now`.

A refusal is a value with a reason, never an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from weighbridge.rules.catalog import Entitlement, FeatureType, Limit, LimitKind, UpgradeOffer
from weighbridge.rules.moving import units_left_ms
from weighbridge.rules.rate import RateState, refusing_rate, retry_after_ms
from weighbridge.rules.window import WindowBounds


class Reason(Enum):
    """Why a call is refused."""

    # Members are single objects; Enum's own hash is a Python call, and this is hot.
    __hash__ = object.__hash__

    CUSTOMER_UNKNOWN = "customer_unknown"
    CUSTOMER_ARCHIVED = "customer_archived"
    RESOURCE_UNKNOWN = "resource_unknown"
    NO_ACTIVE_SUBSCRIPTION = "no_active_subscription"
    TRIAL_ENDED = "trial_ended"
    FEATURE_UNKNOWN = "feature_unknown"
    FEATURE_NOT_IN_PLAN = "feature_not_in_plan"
    VALUE_NOT_ALLOWED = "value_not_allowed"
    LIMIT_REACHED = "limit_reached"
    RATE_LIMITED = "rate_limited"
    CREDITS_EXHAUSTED = "credits_exhausted"
    SPEND_LIMIT_REACHED = "spend_limit_reached"
    PARTNER_NOT_PERMITTED = "partner_not_permitted"
    PARTNER_LIMIT_REACHED = "partner_limit_reached"
    REVOKED = "revoked"
    OUTAGE_POLICY = "outage_policy"


class DecidedBy(Enum):
    """What an answer rests on."""

    # Members are single objects; Enum's own hash is a Python call, and this is hot.
    __hash__ = object.__hash__

    LEASE = "lease"
    CACHE = "cache"
    CONTROL_PLANE = "control_plane"
    OUTAGE_POLICY = "outage_policy"


class UpgradeHint(NamedTuple):
    """A plan or add-on (one of the two) under which the refused call would have passed."""

    plan: str
    add_on: str
    name: str
    offer: UpgradeOffer


class LimitState(NamedTuple):
    """A limit, the window it is in now, and what is used in that window.

    No `bounds`: nothing is used of a rolling window, or no session is open. Of a rolling window,
    `buckets` has the units by bucket; they are to be read before more usage is recorded. Of what is
    used, `reserved` units are only held.
    """

    limit: Limit
    bounds: WindowBounds | None
    used: int
    buckets: Mapping[int, int] | None = None
    reserved: int = 0


class Verdict(NamedTuple):
    """What the rules say of one call. Times are relative to the `now` they were given.

    `state` is the limit that refused, else the one with the least left, as it was before the call;
    `rate` is the rate that refused. `observed` is why it would have been refused, had the feature
    been enforced.
    """

    allowed: bool
    reason: Reason | None = None
    state: LimitState | None = None
    number: int | None = None
    values: tuple[str, ...] = ()
    overage: int = 0
    retry_after_ms: int | None = None
    allowed_amount: int | None = None
    rate: RateState | None = None
    observed: Reason | None = None


ALLOWED = Verdict(allowed=True)


def refused(reason: Reason) -> Verdict:
    """Return a refusal that no limit explains."""
    return Verdict(allowed=False, reason=reason)


def decide_plain(
    feature_type: FeatureType, entitlement: Entitlement, amount: int | None, value: str
) -> Verdict:
    """Decide a feature that is not counted: boolean, number (amount <= number) or enum."""
    if feature_type is FeatureType.BOOLEAN:
        return ALLOWED
    if feature_type is FeatureType.NUMBER:
        number = entitlement.number
        if number is None or amount is None or amount <= number:
            return Verdict(allowed=True, number=number)
        return Verdict(allowed=False, reason=Reason.VALUE_NOT_ALLOWED, number=number)
    values = entitlement.values
    if value in values or (not value and values):
        return Verdict(allowed=True, values=values)
    return Verdict(allowed=False, reason=Reason.VALUE_NOT_ALLOWED, values=values)


def decide_metered(states: Sequence[LimitState], amount: int, now_ms: int) -> Verdict:
    """Decide an amount against every limit at once: all admit it, or none is charged.

    Amount 0 always passes, and so does a negative one, which gives back. Of several limits that
    refuse, the answer names the one that will refuse longest, since waiting for the others would
    not help.
    """
    refusing: LimitState | None = None
    tightest: LimitState | None = None
    tightest_left = 0
    overage = 0
    for state in states:
        limit = state.limit
        if limit.limit is None:
            continue
        left = limit.limit - state.used
        if amount > left:
            if limit.kind is LimitKind.HARD:
                # Amount 0 takes nothing, so a limit that was lowered below its usage admits it.
                if amount > 0 and (refusing is None or _refuses_longer(state, refusing, amount)):
                    refusing = state
            else:
                overage = max(overage, min(amount, amount - left))
        if tightest is None or left < tightest_left:
            tightest, tightest_left = state, left
    if refusing is not None:
        return _limit_reached(states, refusing, amount, now_ms)
    return Verdict(True, None, tightest, None, (), overage)  # noqa: FBT003 (hot path)


def leases_exhausted(
    state: LimitState, would_pass: int, retry_after_ms: int | None, now_ms: int
) -> Verdict:
    """Return the refusal of a limit of which nobody has so many units left to give.

    What others hold counts as used. Without `retry_after_ms`, nothing comes back before the window
    turns.
    """
    limit = state.limit.limit
    assert limit is not None, "an unlimited limit is not leased"
    end_ms = None if state.bounds is None else state.bounds.end_ms
    if retry_after_ms is None and end_ms is not None:
        retry_after_ms = max(end_ms - now_ms, 0)
    return Verdict(
        allowed=False,
        reason=Reason.LIMIT_REACHED,
        state=state._replace(used=max(state.used, limit - would_pass)),
        retry_after_ms=retry_after_ms,
        allowed_amount=would_pass or None,
    )


def held(states: Sequence[LimitState]) -> list[LimitState]:
    """Return the states of an allocation: what is held is never less than nothing.

    A sum is below 0 where a release is known here before the acquisition, made elsewhere, is.
    """
    return [state if state.used >= 0 else state._replace(used=0) for state in states]


def apply_rates(verdict: Verdict, rates: Sequence[RateState], amount: int) -> Verdict:
    """Return what rates make of the verdict: each of them has to admit the amount as well.

    Where something else refuses too, that is told: it waits longer than any rate.
    """
    refusing = refusing_rate(rates, amount)
    if refusing is None:
        return verdict
    would_pass = min(state.remaining for state in rates)
    if not verdict.allowed:
        return verdict._replace(allowed_amount=min(verdict.allowed_amount or 0, would_pass) or None)
    return Verdict(
        allowed=False,
        reason=Reason.RATE_LIMITED,
        retry_after_ms=retry_after_ms(refusing, amount),
        allowed_amount=would_pass or None,
        rate=refusing,
    )


def observed(verdict: Verdict, states: Sequence[LimitState], amount: int) -> Verdict:
    """Allow what was refused, because the feature is only observed, and say why it would be."""
    if verdict.allowed:
        return verdict
    return verdict._replace(
        allowed=True,
        reason=None,
        overage=_past_limits(states, amount),
        retry_after_ms=None,
        allowed_amount=None,
        observed=verdict.reason,
    )


def _past_limits(states: Sequence[LimitState], amount: int) -> int:
    """Return how much of the amount lies past a limit, hard or soft."""
    return max(
        (
            min(amount, max(state.used + amount - state.limit.limit, 0))
            for state in states
            if state.limit.limit is not None
        ),
        default=0,
    )


def _limit_reached(
    states: Sequence[LimitState], refusing: LimitState, amount: int, now_ms: int
) -> Verdict:
    would_pass = min(
        max(state.limit.limit - state.used, 0)
        for state in states
        if state.limit.limit is not None and state.limit.kind is LimitKind.HARD
    )
    until_ms = _refuses_until_ms(refusing, amount)
    return Verdict(
        allowed=False,
        reason=Reason.LIMIT_REACHED,
        state=refusing,
        retry_after_ms=None if until_ms is None else max(until_ms - now_ms, 0),
        allowed_amount=would_pass or None,
    )


def _refuses_longer(state: LimitState, other: LimitState, amount: int) -> bool:
    other_until_ms = _refuses_until_ms(other, amount)
    if other_until_ms is None:
        return False
    until_ms = _refuses_until_ms(state, amount)
    return until_ms is None or until_ms > other_until_ms


def _refuses_until_ms(state: LimitState, amount: int) -> int | None:
    """Return when the limit could admit the amount; None: in no window."""
    limit, length_ms = state.limit.limit, state.limit.window.length_ms
    if state.bounds is None or (limit is not None and amount > limit):
        return None
    if state.buckets is not None and length_ms is not None and limit is not None:
        return units_left_ms(length_ms, state.buckets, state.used + amount - limit)
    return state.bounds.end_ms
