"""The gate: everything decisions depend on, and the decision of one call."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sidecar.core.book import UsageBook
from sidecar.core.holding import Cover, cover_of, exhausted_verdict
from sidecar.core.keys import KeyTable
from sidecar.core.leases import Lack, Leases, Pool
from sidecar.core.link import Link
from sidecar.core.outage import OutageSpending, apply_outage_policy
from sidecar.core.rates import RateBuckets
from sidecar.core.request import Kind, Request
from sidecar.core.snapshots import CustomerState, SnapshotCache
from weighbridge.rules.catalog import (
    Customer,
    Enforcement,
    Entitlement,
    Feature,
    FeatureType,
)
from weighbridge.rules.decision import (
    ALLOWED,
    DecidedBy,
    LimitState,
    Reason,
    UpgradeHint,
    Verdict,
    apply_rates,
    decide_metered,
    decide_plain,
    observed,
    refused,
)
from weighbridge.rules.entitlement import (
    Grant,
    NoGrant,
    PlanCompiler,
    Question,
    upgrade_hints,
)
from weighbridge.rules.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
)
from weighbridge.rules.rate import Rate
from weighbridge.rules.units import COUNTER_MAX

_HINTED = frozenset(
    {
        Reason.FEATURE_NOT_IN_PLAN,
        Reason.VALUE_NOT_ALLOWED,
        Reason.LIMIT_REACHED,
        Reason.RATE_LIMITED,
    }
)


class Moment(NamedTuple):
    """Now: on the control plane's clock, and on this machine's CLOCK_BOOTTIME."""

    now_ms: int
    boot_ms: int


class Decided(NamedTuple):
    """An answer. `is_recorded`: its usage is staged in the batch's record.

    `rates` are those that its usage is taken from, `pools` those of which leases cover it.
    """

    request: Request
    verdict: Verdict
    decided_by: DecidedBy
    feature: Feature | None
    hints: tuple[UpgradeHint, ...]
    catalog_version: int
    snapshot_version: int
    snapshot_age_ms: int | None
    now_ms: int
    is_recorded: bool = False
    rates: tuple[Rate, ...] = ()
    pools: Sequence[Pool] = ()


class NotLoaded(NamedTuple):
    """The customer has to be loaded before this can be answered."""

    customer: str


class NotLeased(NamedTuple):
    """Units have to be leased before this can be answered."""

    lacks: Sequence[Lack]


class _Subject(NamedTuple):
    """Who asks for what, resolved."""

    request: Request
    state: CustomerState
    compiler: PlanCompiler
    grant: Grant
    feature: Feature
    moment: Moment


class _Judged(NamedTuple):
    verdict: Verdict
    decided_by: DecidedBy
    states: Sequence[LimitState] = ()
    rates: tuple[Rate, ...] = ()
    pools: Sequence[Pool] = ()


class Gate:
    """Everything decisions depend on. Owned by one thread."""

    def __init__(
        self,
        cache: SnapshotCache,
        book: UsageBook,
        keys: KeyTable,
        link: Link,
        *,
        admit_unloaded: bool,
    ) -> None:
        self.cache = cache
        self.book = book
        self.keys = keys
        self.link = link
        self.spending = OutageSpending()
        self.rates = RateBuckets()
        self.leases = Leases()
        # Decisions by feature ("" where unknown), reason and what decided: read by the metrics.
        self.decisions: Tally[tuple[str, Reason | None, DecidedBy]] = Tally()
        # Of those that were allowed, what would have been refused, had it not been only observed.
        self.observed_refusals: Tally[tuple[str, Reason]] = Tally()
        # Told of each customer whose answers may have changed, and of one whose totals are wanted.
        self.on_changed: Callable[[str], None] = _ignore
        self.on_refresh_wanted: Callable[[str], None] = _ignore
        self.on_catalog_changed: Callable[[str], None] = _ignore
        self._admit_unloaded = admit_unloaded

    def is_outage(self, moment: Moment) -> bool:
        """Whether outage policies decide now."""
        if self.link.is_outage(moment.boot_ms):
            return True
        self.spending.end()
        return False

    def count(self, decided: Decided) -> None:
        """Count a decision that was given as an answer."""
        feature = decided.feature.id if decided.feature else ""
        self.decisions[feature, decided.verdict.reason, decided.decided_by] += 1
        if decided.verdict.observed is not None:
            self.observed_refusals[feature, decided.verdict.observed] += 1

    def resolve(
        self, customer: str, resource: str, moment: Moment
    ) -> tuple[CustomerState, PlanCompiler, Grant | NoGrant] | Reason | NotLoaded:
        """Find a customer and what it has now; or why there is nothing to find."""
        state = self.cache.find(customer)
        if state is None:
            if self.cache.is_absent(customer):
                return Reason.CUSTOMER_UNKNOWN
            if not self.cache.may_hold(customer):
                raise FailedPreconditionError(
                    f"customer: this sidecar holds a fixed list of customers, without {customer!r}"
                )
            return NotLoaded(customer)
        compiler = self.cache.compiler(state.customer.catalog)
        if compiler is None:
            # Only a tombstone can be held without its catalog.
            return Reason.REVOKED
        return state, compiler, state.grant(compiler, resource, moment.now_ms)

    def decide(self, request: Request, moment: Moment) -> Decided | NotLoaded | NotLeased:
        """Decide one call. Changes nothing."""
        if request.kind is Kind.REPORT and self.cache.find(request.customer) is None:
            return self._without_snapshot(request, moment, ALLOWED, DecidedBy.CACHE)
        resolved = self.resolve(request.customer, request.resource, moment)
        if isinstance(resolved, NotLoaded):
            return self._unloaded(request, moment, resolved)
        if isinstance(resolved, Reason):
            return self._plain_refusal(request, moment, resolved)
        state, compiler, grant = resolved
        feature = compiler.catalog.features.get(request.feature)
        if isinstance(grant, NoGrant) or feature is None:
            self.book.close(request.customer, (request.resource, request.feature))
            reason = grant.reason if isinstance(grant, NoGrant) else Reason.FEATURE_UNKNOWN
            return self._plain_refusal(request, moment, reason, state, feature)
        subject = _Subject(request, state, compiler, grant, feature, moment)
        judged = self._judge(subject)
        if isinstance(judged, NotLeased):
            return judged
        return Decided(
            request,
            judged.verdict,
            judged.decided_by,
            feature,
            _hints(subject, judged) if judged.verdict.reason in _HINTED else (),
            compiler.catalog.version,
            state.customer.version,
            self.link.snapshot_age_ms(moment.boot_ms),
            moment.now_ms,
            rates=judged.rates,
            pools=judged.pools,
        )

    def window_is_new(self, customer: Customer, compiler: PlanCompiler) -> None:
        """Ask for the totals of a window that the customer's snapshot could not know of."""
        if compiler.catalog.version > customer.catalog_version_min:
            self.on_refresh_wanted(customer.id)

    def _judge(self, subject: _Subject) -> _Judged | NotLeased:
        request = subject.request
        judged = self._judge_feature(subject)
        if isinstance(judged, NotLeased):
            return judged
        # A report is admitted in any case, so there is nothing it would have been refused for.
        if subject.feature.enforcement is Enforcement.OBSERVE and request.kind is not Kind.REPORT:
            verdict = observed(judged.verdict, judged.states, request.units)
            judged = judged._replace(verdict=verdict)
        if judged.verdict.allowed and any(
            state.used + request.units > COUNTER_MAX for state in judged.states
        ):
            raise InvalidArgumentError(
                "amount", f"{request.units} would pass the counter's {COUNTER_MAX}"
            )
        return judged

    def _judge_feature(self, subject: _Subject) -> _Judged | NotLeased:
        request, feature = subject.request, subject.feature
        if request.kind is not Kind.CHECK and feature.type is not FeatureType.METERED:
            raise InvalidArgumentError(
                "feature",
                f"{feature.id!r} is a {feature.type.value} feature; usage is recorded on metered "
                "features, this one is asked for with Check",
            )
        entitlement = subject.grant.entitlements.get(feature.id)
        if entitlement is None or not entitlement.enabled:
            self.book.close(request.customer, (request.resource, request.feature))
            return _Judged(refused(Reason.FEATURE_NOT_IN_PLAN), DecidedBy.CACHE)
        if feature.type is not FeatureType.METERED:
            verdict = decide_plain(feature.type, entitlement, request.amount, request.value)
            return _Judged(verdict, DecidedBy.CACHE)
        return self._judge_metered(subject, entitlement)

    def _judge_metered(self, subject: _Subject, entitlement: Entitlement) -> _Judged | NotLeased:
        request, moment = subject.request, subject.moment
        amount = request.units
        states: Sequence[LimitState] = ()
        key = (request.resource, request.feature)
        if entitlement.limits:
            usage = self.book.open(request.customer, key)
            states, has_new = usage.states(
                entitlement, subject.grant.subscription.anchor_ms, moment.now_ms
            )
            if has_new:
                self.window_is_new(subject.state.customer, subject.compiler)
        elif self.book.find(request.customer, key) is not None:
            self.book.close(request.customer, key)
        verdict = decide_metered(states, amount, moment.now_ms)
        judged = self._judge_rates(_Judged(verdict, DecidedBy.CACHE, states), subject, entitlement)
        if subject.feature.is_leased and judged.verdict.allowed and request.is_admitted:
            cover = cover_of(self.leases, (request.customer, key), states, amount, moment)
            if cover.lacks:
                return self._judge_uncovered(subject, judged, cover)
            if cover.pools:
                return judged._replace(decided_by=DecidedBy.LEASE, pools=cover.pools)
        if self.is_outage(moment):
            # What this sidecar counts alone, such as rates, no outage makes uncertain.
            under_policy = self._judge_outage(subject, verdict, states)
            return self._judge_rates(under_policy, subject, entitlement)
        return judged

    def _judge_rates(self, judged: _Judged, subject: _Subject, entitlement: Entitlement) -> _Judged:
        request = subject.request
        if not entitlement.rates:
            return judged
        if request.kind is Kind.REPORT:
            return judged._replace(rates=entitlement.rates)
        key = (request.resource, request.feature)
        boot_ms = subject.moment.boot_ms
        rates = self.rates.states(request.customer, key, entitlement.rates, boot_ms)
        verdict = apply_rates(judged.verdict, rates, request.units)
        return judged._replace(verdict=verdict, rates=entitlement.rates)

    def _judge_uncovered(
        self, subject: _Subject, judged: _Judged, cover: Cover
    ) -> _Judged | NotLeased:
        """Decide what no lease covers: refused by the control plane before, or to be asked for."""
        request, moment = subject.request, subject.moment
        if cover.refused is not None:
            verdict = exhausted_verdict(cover, request.units, moment)
            return judged._replace(verdict=verdict, decided_by=DecidedBy.LEASE)
        if self.is_outage(moment):
            return self._judge_outage(subject, judged.verdict, judged.states)._replace(
                rates=judged.rates
            )
        return judged if request.kind is Kind.CHECK else NotLeased(cover.lacks)

    def _judge_outage(
        self, subject: _Subject, verdict: Verdict, states: Sequence[LimitState]
    ) -> _Judged:
        request = subject.request
        spent = self.spending.spent((request.customer, request.resource, request.feature))
        policy = subject.feature.outage
        verdict = apply_outage_policy(policy, verdict, states, request.units, spent)
        return _Judged(verdict, DecidedBy.OUTAGE_POLICY, states)

    def _unloaded(
        self, request: Request, moment: Moment, missing: NotLoaded
    ) -> Decided | NotLoaded:
        if not self.is_outage(moment):
            return missing
        verdict = ALLOWED if self._admit_unloaded else refused(Reason.OUTAGE_POLICY)
        return self._without_snapshot(request, moment, verdict, DecidedBy.OUTAGE_POLICY)

    def _without_snapshot(
        self, request: Request, moment: Moment, verdict: Verdict, decided_by: DecidedBy
    ) -> Decided:
        age_ms = self.link.snapshot_age_ms(moment.boot_ms)
        return Decided(request, verdict, decided_by, None, (), 0, 0, age_ms, moment.now_ms)

    def _plain_refusal(
        self,
        request: Request,
        moment: Moment,
        reason: Reason,
        state: CustomerState | None = None,
        feature: Feature | None = None,
    ) -> Decided:
        base = self._without_snapshot(request, moment, refused(reason), DecidedBy.CACHE)
        if state is None:
            return base
        compiler = self.cache.compiler(state.customer.catalog)
        return base._replace(
            feature=feature,
            catalog_version=compiler.catalog.version if compiler else 0,
            snapshot_version=state.customer.version,
        )


def _hints(subject: _Subject, judged: _Judged) -> tuple[UpgradeHint, ...]:
    request = subject.request
    question = Question(
        request.feature,
        subject.feature.type,
        request.amount,
        request.value,
        judged.states,
        subject.moment.now_ms,
        None if judged.verdict.rate is None else judged.verdict.rate.rate,
    )
    return upgrade_hints(subject.compiler, subject.grant, question)


def _ignore(_customer: str) -> None:
    return
