"""One call judged by a catalog, whatever is measured: for questions that charge nobody.

The gate of a sidecar decides alike, with what only it has: outages, idempotency, its own usage.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from weighbridge.rules.granting import Grant, NoGrant
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
    """What was used so far of the feature asked for."""

    def states(self, entitlement: Entitlement, grant: Grant) -> Sequence[LimitState]:
        """Return the state of every limit now."""

    def rates(self, rates: Sequence[Rate]) -> Sequence[RateState]:
        """Return the state of every rate now."""


class Judged(NamedTuple):
    """The verdict, and the entitlement that it rests on; None where there is none."""

    verdict: Verdict
    entitlement: Entitlement | None = None

    @property
    def rates(self) -> tuple[Rate, ...]:
        """The rates to take the amount from: none where it is refused, or would be."""
        verdict = self.verdict
        if self.entitlement is None or not verdict.allowed or verdict.observed is not None:
            return ()
        return self.entitlement.rates


def judge(
    catalog: Catalog, grant: Grant | NoGrant, asked: Asked, measured: Measured, now_ms: int
) -> Judged:
    """Judge one call. Changes nothing."""
    if isinstance(grant, NoGrant):
        return Judged(refused(grant.reason))
    feature = catalog.features.get(asked.feature)
    if feature is None:
        return Judged(refused(Reason.FEATURE_UNKNOWN))
    entitlement = grant.entitlements.get(feature.id)
    states: Sequence[LimitState] = ()
    if entitlement is None or not entitlement.enabled:
        # What is held can be given back whatever the plan has.
        is_release = feature.is_allocation and asked.units < 0
        judged = Judged(ALLOWED if is_release else refused(Reason.FEATURE_NOT_IN_PLAN))
    elif feature.type is not FeatureType.METERED:
        verdict = decide_plain(feature.type, entitlement, asked.amount, asked.value)
        judged = Judged(verdict, entitlement)
    else:
        states = measured.states(entitlement, grant) if entitlement.limits else ()
        if feature.is_allocation:
            states = held(states)
        verdict = decide_metered(states, asked.units, now_ms)
        if entitlement.rates:
            verdict = apply_rates(verdict, measured.rates(entitlement.rates), asked.units)
        judged = Judged(verdict, entitlement)
    return _enforced(feature, judged, states, asked.units)


def _enforced(feature: Feature, judged: Judged, states: Sequence[LimitState], units: int) -> Judged:
    if feature.enforcement is Enforcement.OBSERVE:
        return judged._replace(verdict=observed(judged.verdict, states, units))
    return judged
