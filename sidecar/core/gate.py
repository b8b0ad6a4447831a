"""The gate: everything decisions depend on, and the decision of one call."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sidecar.core.book import UsageBook
from sidecar.core.keys import KeyTable
from sidecar.core.link import Link
from sidecar.core.outage import OutageSpending, apply_outage_policy
from sidecar.core.rates import RateBuckets
from sidecar.core.request import Kind, Request
from sidecar.core.shadow import LiveDecision, Shadow
from sidecar.core.snapshots import CustomerState, SnapshotCache
from weighbridge.rules.catalog import (
    Customer,
    Enforcement,
    Entitlement,
    Feature,
    FeatureType,
    Meter,
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
    held,
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

    `rates` are those that its usage is taken from, `states` those of the limits it rests on.
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
    states: Sequence[LimitState] = ()


class NotLoaded(NamedTuple):
    """The customer has to be loaded before this can be answered."""

    customer: str


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
        # Drafts of catalogs, which decide nothing; None where there are none.
        self.shadow: Shadow | None = None
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
        if self.shadow is not None and decided.decided_by is not DecidedBy.OUTAGE_POLICY:
            request, verdict, states = decided.request, decided.verdict, decided.states
            state = self.cache.find(request.customer)
            if state is not None:
                live = LiveDecision(request, verdict, states, decided.now_ms)
                self.shadow.compare(state.customer, live)

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

    def decide(self, request: Request, moment: Moment) -> Decided | NotLoaded:
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
        if isinstance(grant, NoGrant):
            return self._without_grant(request, moment, grant.reason, state, feature)
        if feature is None:
            return self._plain_refusal(request, moment, Reason.FEATURE_UNKNOWN, state)
        subject = _Subject(request, state, compiler, grant, feature, moment)
        judged = self._judge(subject)
        hints: tuple[UpgradeHint, ...] = ()
        if judged.verdict.reason in _HINTED:
            question = Question(
                feature.id,
                feature.type,
                request.amount,
                request.value,
                judged.states,
                moment.now_ms,
                None if judged.verdict.rate is None else judged.verdict.rate.rate,
            )
            hints = upgrade_hints(compiler, grant, question)
        return Decided(
            request,
            judged.verdict,
            judged.decided_by,
            feature,
            hints,
            compiler.catalog.version,
            state.customer.version,
            self.link.snapshot_age_ms(moment.boot_ms),
            moment.now_ms,
            rates=judged.rates,
            states=judged.states,
        )

    def window_is_new(self, customer: Customer, compiler: PlanCompiler) -> None:
        """Ask for the totals of a window that the customer's snapshot could not know of."""
        if compiler.catalog.version > customer.catalog_version_min:
            self.on_refresh_wanted(customer.id)

    def _judge(self, subject: _Subject) -> _Judged:
        request = subject.request
        judged = self._judge_feature(subject)
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

    def _judge_feature(self, subject: _Subject) -> _Judged:
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
            # What is held can be given back whatever the plan has by now.
            is_release = _is_release(request, feature)
            verdict = ALLOWED if is_release else refused(Reason.FEATURE_NOT_IN_PLAN)
            return _Judged(verdict, DecidedBy.CACHE)
        if feature.type is not FeatureType.METERED:
            verdict = decide_plain(feature.type, entitlement, request.amount, request.value)
            return _Judged(verdict, DecidedBy.CACHE)
        return self._judge_metered(subject, entitlement)

    def _judge_metered(self, subject: _Subject, entitlement: Entitlement) -> _Judged:
        request, moment = subject.request, subject.moment
        amount = request.units
        is_allocation = subject.feature.meter is Meter.ALLOCATION
        if amount < 0 and not is_allocation:
            raise _not_releasable(subject.feature, amount)
        states: Sequence[LimitState] = ()
        key = (request.resource, request.feature)
        if entitlement.limits:
            usage = self.book.open(request.customer, key)
            states, has_new = usage.states(
                entitlement, subject.grant.subscription.anchor_ms, moment.now_ms
            )
            if has_new:
                self.window_is_new(subject.state.customer, subject.compiler)
            if is_allocation:
                states = held(states)
        elif self.book.find(request.customer, key) is not None:
            self.book.close(request.customer, key)
        verdict = decide_metered(states, amount, moment.now_ms)
        decided_by = DecidedBy.CACHE
        if self.is_outage(moment):
            spent = self.spending.spent((request.customer, request.resource, request.feature))
            verdict = apply_outage_policy(subject.feature.outage, verdict, states, amount, spent)
            decided_by = DecidedBy.OUTAGE_POLICY
        if entitlement.rates and request.kind is not Kind.REPORT:
            # After the outage policy: what this sidecar counts alone, no outage makes uncertain.
            rates = self.rates.states(request.customer, key, entitlement.rates, moment.boot_ms)
            verdict = apply_rates(verdict, rates, amount)
        return _Judged(verdict, decided_by, states, entitlement.rates)

    def _without_grant(
        self,
        request: Request,
        moment: Moment,
        reason: Reason,
        state: CustomerState,
        feature: Feature | None,
    ) -> Decided:
        decided = self._plain_refusal(request, moment, reason, state, feature)
        if feature is None or reason is Reason.RESOURCE_UNKNOWN:
            return decided
        return decided._replace(verdict=ALLOWED) if _is_release(request, feature) else decided

    def _unloaded(
        self, request: Request, moment: Moment, missing: NotLoaded
    ) -> Decided | NotLoaded:
        if not self.is_outage(moment):
            return missing
        # A release is taken in any case; the control plane sets aside what was none.
        is_admitted = self._admit_unloaded or request.units < 0
        verdict = ALLOWED if is_admitted else refused(Reason.OUTAGE_POLICY)
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


def _is_release(request: Request, feature: Feature) -> bool:
    """Whether units are given back. Raises InvalidArgumentError where the feature has none."""
    if request.units >= 0:
        return False
    if not feature.is_allocation:
        raise _not_releasable(feature, request.units)
    return True


def _not_releasable(feature: Feature, amount: int) -> InvalidArgumentError:
    return InvalidArgumentError(
        "amount",
        f"{amount} is negative, and {feature.id!r} is no allocation feature, of which units are "
        "released",
    )


def _ignore(_customer: str) -> None:
    return
