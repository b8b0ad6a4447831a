"""Explains what a customer has on a feature, with what is settled of every limit that counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection

from control_plane.metering.counters import Counter, CounterCache, CustomerCounters
from control_plane.metering.totals import WindowTotal, read_current
from control_plane.provisioning import CatalogLibrary
from weighbridge.rules.catalog import Catalog, Entitlement, Feature, Limit
from weighbridge.rules.decision import LimitState, held
from weighbridge.rules.errors import NotFoundError
from weighbridge.rules.explanation import Explanation, explain
from weighbridge.rules.granting import Grant
from weighbridge.rules.moving import Sessions, buckets_bounds, is_moving
from weighbridge.rules.rate import Rate
from weighbridge.rules.units import require_id, require_optional_id
from weighbridge.rules.window import WindowKind, window_bounds


class Question(NamedTuple):
    """What to explain; "" resource is the customer itself."""

    customer: str
    resource: str
    feature: str
    at_ms: int


class LimitingState(NamedTuple):
    """A limit that counts; `limited_by` names the ancestor whose it is, "" is the customer."""

    state: LimitState
    limited_by: str


class LimitingRate(NamedTuple):
    """A rate that counts; `limited_by` names the ancestor whose it is, "" is the customer."""

    rate: Rate
    limited_by: str


class Explained(NamedTuple):
    """An explanation, and every limit and rate that counts, the customer's own first."""

    question: Question
    catalog: Catalog
    feature: Feature
    explanation: Explanation
    limits: tuple[LimitingState, ...]
    rates: tuple[LimitingRate, ...]


def explain_entitlement(
    connection: Connection, library: CatalogLibrary, question: Question
) -> Explained:
    """Explain what a customer or resource has. Raises NotFoundError for what there is not."""
    require_id("customer", question.customer)
    require_optional_id("resource", question.resource)
    require_id("feature", question.feature)
    cache = CounterCache(library)
    cache.refresh(connection, [question.customer])
    found = cache.find(question.customer)
    if found is None:
        raise NotFoundError(f"customer {question.customer!r} does not exist")
    catalog = found.catalog.catalog
    feature = catalog.features.get(question.feature)
    if feature is None:
        raise NotFoundError(f"feature {question.feature!r} is not in catalog {catalog.id!r}")
    if question.resource not in found.resources:
        raise NotFoundError(f"customer {question.customer!r} has no resource {question.resource!r}")
    chain = (found, *found.lineage())
    explanation = explain(
        found.catalog.compiler,
        [each.customer for each in chain],
        question.resource,
        feature.id,
        question.at_ms,
    )
    limits, rates = _counting(connection, chain, question, explanation)
    if feature.is_allocation:
        limits = [
            each._replace(state=state)
            for each, state in zip(limits, held([each.state for each in limits]), strict=True)
        ]
    return Explained(question, catalog, feature, explanation, tuple(limits), tuple(rates))


def _counting(
    connection: Connection,
    chain: tuple[CustomerCounters, ...],
    question: Question,
    explanation: Explanation,
) -> tuple[list[LimitingState], list[LimitingRate]]:
    grant, bounds = explanation.grant, explanation.bounds
    if not isinstance(grant, Grant) or bounds.entitlement is None:
        return [], []
    counters = {each.customer.id: Counter(each.customer.id, "", question.feature) for each in chain}
    counters[question.customer] = Counter(question.customer, question.resource, question.feature)
    totals = read_current(
        connection, [(each, [counters[each.customer.id]]) for each in chain], question.at_ms
    )
    parts: list[tuple[str, Entitlement, int, str]] = [
        (question.customer, bounds.entitlement, grant.subscription.anchor_ms, "")
    ]
    parts += [(lv.customer, said, lv.anchor_ms, lv.customer) for lv, said in bounds.levels]
    limits: list[LimitingState] = []
    rates: list[LimitingRate] = []
    for customer, entitlement, anchor_ms, limited_by in parts:
        settled = _by_window(totals[customer])
        for limit in entitlement.limits:
            units = settled.get(limit.window.key, {})
            state = _state_of(limit, units, anchor_ms, question.at_ms)
            limits.append(LimitingState(state, limited_by))
        rates += (LimitingRate(rate, limited_by) for rate in entitlement.rates)
    return limits, rates


def _by_window(totals: tuple[WindowTotal, ...]) -> Mapping[str, Mapping[int, int]]:
    by_window: dict[str, dict[int, int]] = defaultdict(dict)
    for total in totals:
        by_window[total.window.key][total.window_start_ms] = total.total
    return by_window


def _state_of(limit: Limit, units: Mapping[int, int], anchor_ms: int, at_ms: int) -> LimitState:
    window = limit.window
    if not is_moving(window.key):
        bounds = window_bounds(window, at_ms, anchor_ms)
        return LimitState(limit, bounds, units.get(bounds.start_ms, 0))
    assert window.length_ms is not None, "a moving window"
    parts = {start_ms: used for start_ms, used in units.items() if used and start_ms <= at_ms}
    if window.kind is WindowKind.ROLLING:
        bounds_now = buckets_bounds(window.length_ms, parts)
        return LimitState(limit, bounds_now, sum(parts.values()))
    session = Sessions(window.length_ms, parts).open_at(at_ms)
    return LimitState(limit, session, 0 if session is None else parts[session.start_ms])
