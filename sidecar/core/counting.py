"""What is counted of a feature above a customer: the limits and rates of its ancestors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sidecar.core.book import UsageBook
from sidecar.core.moment import Moment
from sidecar.core.rates import RateBuckets
from weighbridge.rules.catalog import Entitlement, Feature
from weighbridge.rules.decision import LimitState, Verdict, held
from weighbridge.rules.granting import Bounded, Level
from weighbridge.rules.rate import Rate, RateState

Buckets = tuple[tuple[str, tuple[Rate, ...]], ...]
"""Ancestors and their rates, to take usage from."""


class Counted(NamedTuple):
    """The limits and rates of one ancestor as they are now.

    `has_new`: a window of them has only this sidecar's usage until its total is pushed.
    """

    level: Level
    entitlement: Entitlement
    states: Sequence[LimitState]
    rates: Sequence[RateState]
    has_new: bool


def counted_above(
    book: UsageBook, buckets: RateBuckets, bounds: Bounded, feature: Feature, moment: Moment
) -> list[Counted]:
    """Return what counts above a customer, nearest first."""
    key = ("", feature.id)
    counted: list[Counted] = []
    for level, entitlement in bounds.levels:
        states: Sequence[LimitState] = ()
        has_new = False
        if entitlement.limits:
            usage = book.open(level.customer, key)
            states, has_new = usage.states(entitlement, level.anchor_ms, moment.now_ms)
            if feature.is_allocation:
                states = held(states)
        rates = buckets.states(level.customer, key, entitlement.rates, moment.boot_ms)
        counted.append(Counted(level, entitlement, states, rates, has_new))
    return counted


def with_rates_above(rates: Sequence[RateState], counted: Sequence[Counted]) -> list[RateState]:
    """Return a customer's own rates, and those above it."""
    return [*rates, *(rate for each in counted for rate in each.rates)]


def limiting(verdict: Verdict, counted: Sequence[Counted]) -> str:
    """Return the ancestor whose limit or rate the verdict names; "" where it is none of theirs."""
    for each in counted:
        if verdict.state is not None and any(state is verdict.state for state in each.states):
            return each.level.customer
        if verdict.rate is not None and any(rate is verdict.rate for rate in each.rates):
            return each.level.customer
    return ""


def buckets_of(counted: Sequence[Counted]) -> Buckets:
    """Return the rates to take usage from."""
    return tuple(
        (each.level.customer, each.entitlement.rates) for each in counted if each.entitlement.rates
    )
