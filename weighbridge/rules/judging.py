"""One call judged by a catalog, whatever is measured: for questions that charge nobody.

The gate of a sidecar decides alike, with what only it has: outages, idempotency, its own usage.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from weighbridge.rules.catalog import Catalog, Enforcement, Entitlement, Feature, FeatureType
from weighbridge.rules.decision import (
    ALLOWED,
    LimitState,
    Reason,
    Verdict,
    apply_rates,
    decide_metered,
    decide_plain,
    held,
    observed,
    refused,
)
from weighbridge.rules.granting import Bounded, Grant, NoGrant, bounded
from weighbridge.rules.rate import Rate, RateState


class Asked(NamedTuple):
    """What a call wants. `amount` None: not given, which is 1 of a metered feature."""

    feature: str
    amount: int | None = None
    value: str = ""

    @property
    def units(self) -> int:
        """The amount to meter."""
        return 1 if self.amount is None else self.amount


class Measured(Protocol):
    """What was used so far of the feature asked for: by who asks (""), and by each above."""

    def states(
        self, customer: str, entitlement: Entitlement, anchor_ms: int
    ) -> Sequence[LimitState]:
        """Return the state of every limit now."""

    def rates(self, customer: str, rates: Sequence[Rate]) -> Sequence[RateState]:
        """Return the state of every rate now."""


class Judged(NamedTuple):
    """The verdict; and by customer ("": who asked) the rates that it was found with."""

    verdict: Verdict
    rates: tuple[tuple[str, tuple[Rate, ...]], ...] = ()

    @property
    def takes(self) -> tuple[tuple[str, tuple[Rate, ...]], ...]:
        """The rates to take the amount from: none where it is refused, or would be."""
        verdict = self.verdict
        return () if not verdict.allowed or verdict.observed is not None else self.rates


def judge(
    catalog: Catalog, grant: Grant | NoGrant, asked: Asked, measured: Measured, now_ms: int
) -> Judged:
    """Judge one call. Changes nothing.

    Giving back units of a feature that holds none, an error at a gate, is VALUE_NOT_ALLOWED here.
    """
    feature = catalog.features.get(asked.feature)
    if feature is not None and asked.units < 0 and not feature.is_allocation:
        return Judged(refused(Reason.VALUE_NOT_ALLOWED))
    is_release = feature is not None and asked.units < 0
    if isinstance(grant, NoGrant):
        is_taken = is_release and grant.reason is not Reason.RESOURCE_UNKNOWN
        return Judged(ALLOWED if is_taken else refused(grant.reason))
    if feature is None:
        return Judged(refused(Reason.FEATURE_UNKNOWN))
    entitlement, _, levels = _bounded(grant, feature.id)
    states: list[LimitState] = []
    if entitlement is None or not entitlement.enabled:
        # What is held can be given back whatever the plan has.
        judged = Judged(ALLOWED if is_release else refused(Reason.FEATURE_NOT_IN_PLAN))
    elif feature.type is not FeatureType.METERED:
        verdict = decide_plain(feature.type, entitlement, asked.amount, asked.value)
        judged = Judged(verdict)
    else:
        limiting = [("", entitlement, grant.subscription.anchor_ms)]
        limiting += [(level.customer, said, level.anchor_ms) for level, said in levels]
        states = _states(feature, limiting, measured)
        verdict = decide_metered(states, asked.units, now_ms)
        rates = tuple((customer, said.rates) for customer, said, _ in limiting if said.rates)
        if rates:
            now = [state for customer, of in rates for state in measured.rates(customer, of)]
            verdict = apply_rates(verdict, now, asked.units)
        judged = Judged(verdict, rates)
    return _enforced(feature, judged, states, asked.units)


def _bounded(grant: Grant, feature: str) -> Bounded:
    if grant.above is None:
        return Bounded(grant.entitlements.get(feature))
    return bounded(grant, feature)


def _states(
    feature: Feature, limiting: Iterable[tuple[str, Entitlement, int]], measured: Measured
) -> list[LimitState]:
    states = [
        state
        for customer, said, anchor_ms in limiting
        if said.limits
        for state in measured.states(customer, said, anchor_ms)
    ]
    return held(states) if feature.is_allocation else states


def _enforced(feature: Feature, judged: Judged, states: Sequence[LimitState], units: int) -> Judged:
    if feature.enforcement is Enforcement.OBSERVE:
        return judged._replace(verdict=observed(judged.verdict, states, units))
    return judged
