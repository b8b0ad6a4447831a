"""Drafts of catalogs beside the live ones: what they would have answered. They decide nothing.

A draft has a place of its own: no version number brings it among the catalogs that decide. Every
live decision is made a second time, for the same customer and subscription, on usage as it really
is: what the live decision counted, window by window. A window that the live plan does not count in
is counted here, from what this sidecar admits while the draft is held. A rate's bucket is full when
the draft comes, and holds what this sidecar admitted and the draft would have.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from sidecar.core.book import FeatureKey, Units
from sidecar.core.decided import Decided
from sidecar.core.rates import RateBuckets, Used
from sidecar.core.request import Kind, Request
from sidecar.core.snapshots import CustomerState, SnapshotCache
from sidecar.core.usage import FeatureUsage, Position
from weighbridge.rules.catalog import Catalog, Customer, Entitlement, FeatureType
from weighbridge.rules.decision import DecidedBy, LimitState, Reason, refused
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.granting import Level
from weighbridge.rules.judging import Asked, Judged, judge
from weighbridge.rules.rate import Rate, RateState

DIFFERING_MAX: Final = 10_000
"""Of how many customers differing decisions are counted."""

_SETTLE_EVERY: Final = 64


class Compared(NamedTuple):
    """Which feature ("" where neither catalog has it), and why each refused; None: it allowed."""

    feature: str
    live: Reason | None
    draft: Reason | None


class Differing(NamedTuple):
    """How many calls of a customer only the draft refuses, and how many only the live catalog."""

    newly_refused: int = 0
    newly_allowed: int = 0

    @property
    def calls(self) -> int:
        """All that differ."""
        return self.newly_refused + self.newly_allowed


class Shadow:
    """The drafts held, by catalog. Owned by the gate's thread; metrics read copies."""

    def __init__(self) -> None:
        self._drafts: dict[str, Draft] = {}

    def __len__(self) -> int:
        return len(self._drafts)

    def drafts(self) -> Iterator[Draft]:
        """Iterate over the drafts held."""
        return iter(tuple(self._drafts.values()))

    def put(self, catalog: Catalog, number: int, now_ms: int) -> None:
        """Hold a draft in place of the one before. Only another number begins to count anew."""
        held = self._drafts.get(catalog.id)
        if held is not None and held.number == number:
            held.compiler = PlanCompiler(catalog)
        else:
            self._drafts[catalog.id] = Draft(catalog, number, now_ms)

    def remove(self, catalog: str) -> None:
        """Hold no draft of a catalog."""
        self._drafts.pop(catalog, None)

    def forget(self, customer: str) -> None:
        """Drop what is kept of a customer that is no longer held."""
        for draft in self._drafts.values():
            draft.forget(customer)

    def compare(self, cache: SnapshotCache, live: Decided) -> None:
        """Make a live decision a second time, and count both."""
        state = cache.find(live.request.customer)
        draft = None if state is None else self._drafts.get(state.customer.catalog)
        if state is None or draft is None or live.decided_by is DecidedBy.OUTAGE_POLICY:
            return
        ancestors = cache.ancestors(state.customer.id) if state.parent else ()
        above = [cache.find(each) for each in ancestors or ()]
        if ancestors is None or None in above:
            return
        draft.compare([each.customer for each in (state, *above) if each is not None], live)

    def record(self, request: Request, ancestors: Iterable[str], units: Units) -> None:
        """Take note of usage that the gate counts.

        It is not taken back where its record cannot be written: nothing rests on it.
        """
        for draft in self._drafts.values():
            draft.record(request.customer, (request.resource, request.feature), units)
            for ancestor in ancestors:
                draft.record(ancestor, ("", request.feature), units)


class Draft:
    """One draft: what it would have answered since it came."""

    def __init__(self, catalog: Catalog, number: int, since_ms: int) -> None:
        self.number = number
        self.since_ms = since_ms
        self.compiler = PlanCompiler(catalog)
        self.decisions: Tally[Compared] = Tally()
        self.differing: dict[str, Differing] = {}
        # Calls that differ of customers past DIFFERING_MAX.
        self.differing_uncounted = 0
        self._customers: dict[str, _DraftCustomer] = {}
        self._rates = RateBuckets()

    def compare(self, lineage: Sequence[Customer], live: Decided) -> None:
        """Decide a call as the draft would, and count how it compares.

        `lineage` has who asks, and those above, nearest first.
        """
        customer = lineage[0].id
        judged = self._judge(lineage, live)
        request = live.request
        if request.kind is Kind.CONSUME and live.verdict.allowed:
            used = Used(request.units, live.now_ms)
            for owner, rates in judged.takes:
                key = ("" if owner else request.resource, request.feature)
                self._rates.take(owner or customer, key, rates, used)
        draft_reason, live_reason = judged.verdict.reason, live.verdict.reason
        known = request.feature in self.compiler.catalog.features or live.feature is not None
        feature = request.feature if known else ""
        self.decisions[Compared(feature, live_reason, draft_reason)] += 1
        if (draft_reason is None) is not (live_reason is None):
            self._count_differing(customer, is_newly_refused=live_reason is None)

    def record(self, customer: str, key: FeatureKey, units: Units) -> None:
        """Count usage in the windows that only the draft has."""
        kept = self._customers.get(customer)
        usage = None if kept is None else kept.usages.get(key)
        if usage is not None:
            usage.record(units)

    def forget(self, customer: str) -> None:
        """Drop what is kept of a customer."""
        self._customers.pop(customer, None)
        self._rates.forget(customer)

    def most_differing(self, count: int) -> list[tuple[str, Differing]]:
        """Return the customers with the most calls that differ."""
        order = sorted(self.differing.items(), key=lambda item: (-item[1].calls, item[0]))
        return order[:count]

    def _judge(self, lineage: Sequence[Customer], live: Decided) -> Judged:
        request, catalog, now_ms = live.request, self.compiler.catalog, live.now_ms
        feature = catalog.features.get(request.feature)
        if (
            feature is not None
            and feature.type is not FeatureType.METERED
            and request.kind is not Kind.CHECK
        ):
            # It cannot be consumed any more.
            return Judged(refused(Reason.FEATURE_UNKNOWN))
        above: Level | None = None
        for ancestor in reversed(lineage[1:]):
            above = self._keep(ancestor).state.level(self.compiler, above, now_ms)
        state = self._keep(lineage[0]).state
        if above is not None:
            state.put_under(above, 0)
        grant = state.grant(self.compiler, request.resource, now_ms)
        asked = Asked(request.feature, request.amount, request.value)
        measured = _Measured(self._customers, self._rates, live)
        return judge(catalog, grant, asked, measured, now_ms)

    def _keep(self, customer: Customer) -> _DraftCustomer:
        kept = self._customers.get(customer.id)
        if kept is None:
            kept = self._customers[customer.id] = _DraftCustomer(customer)
        elif kept.state.customer is not customer:
            kept.state = CustomerState(customer)
        return kept

    def _count_differing(self, customer: str, *, is_newly_refused: bool) -> None:
        refused_before, allowed_before = self.differing.get(customer, Differing())
        if customer not in self.differing and len(self.differing) >= DIFFERING_MAX:
            self.differing_uncounted += 1
            return
        self.differing[customer] = Differing(
            refused_before + is_newly_refused, allowed_before + (not is_newly_refused)
        )


class _DraftCustomer:
    """What a customer has under the draft, and its usage in windows that only the draft has."""

    __slots__ = ("state", "usages")

    def __init__(self, customer: Customer) -> None:
        self.state = CustomerState(customer)
        self.usages: dict[FeatureKey, _OwnUsage] = {}


class _OwnUsage:
    """Usage of this sidecar alone, since the draft came."""

    __slots__ = ("_number", "_usage")

    def __init__(self) -> None:
        self._usage = FeatureUsage()
        self._number = 0

    def states(self, entitlement: Entitlement, anchor_ms: int, now_ms: int) -> list[LimitState]:
        return self._usage.states(entitlement, anchor_ms, now_ms)[0]

    def record(self, units: Units) -> None:
        self._number += 1
        self._usage.record(Position(0, self._number), units.at_ms, units.amount)
        if self._number % _SETTLE_EVERY == 0:
            # As if a push had included it: only sums are kept.
            self._usage.push((), {0: self._number}, is_whole=False)


class _Measured:
    """Usage as the draft sees it, of the feature that one live decision was about."""

    __slots__ = ("_customers", "_live", "_rates")

    def __init__(
        self, customers: Mapping[str, _DraftCustomer], rates: RateBuckets, live: Decided
    ) -> None:
        self._customers = customers
        self._rates = rates
        self._live = live

    def states(
        self, customer: str, entitlement: Entitlement, anchor_ms: int
    ) -> Sequence[LimitState]:
        counted = self._counted(customer)
        states = []
        for limit in entitlement.limits:
            for state in counted:
                window = state.limit.window
                if window is limit.window or window == limit.window:
                    states.append(state._replace(limit=limit))
                    break
            else:
                break
        else:
            return states
        return self._with_own(customer, entitlement, anchor_ms)

    def rates(self, customer: str, rates: Sequence[Rate]) -> Sequence[RateState]:
        name, key = self._owner(customer)
        return self._rates.states(name, key, rates, self._live.now_ms)

    def _with_own(
        self, customer: str, entitlement: Entitlement, anchor_ms: int
    ) -> list[LimitState]:
        """Return states where some windows are counted here only."""
        name, key = self._owner(customer)
        usages = self._customers[name].usages
        usage = usages.get(key)
        if usage is None:
            usage = usages[key] = _OwnUsage()
        own = usage.states(entitlement, anchor_ms, self._live.now_ms)
        counted = {state.limit.window: state for state in self._counted(customer)}
        states = []
        for mine in own:
            known = counted.get(mine.limit.window)
            states.append(mine if known is None else known._replace(limit=mine.limit))
        return states

    def _counted(self, customer: str) -> Sequence[LimitState]:
        """Return the states that the live decision rests on: of who asks (""), or of one above."""
        live = self._live
        if customer:
            return next((of.states for of in live.counted if of.level.customer == customer), ())
        above = sum(len(each.states) for each in live.counted)
        return live.states[: len(live.states) - above] if above else live.states

    def _owner(self, customer: str) -> tuple[str, FeatureKey]:
        request = self._live.request
        if customer:
            return customer, ("", request.feature)
        return request.customer, (request.resource, request.feature)
