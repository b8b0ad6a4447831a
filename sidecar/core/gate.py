"""The gate: everything decisions depend on, and the decision of one call."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Sequence

from sidecar.core.book import UsageBook
from sidecar.core.counting import Counted, buckets_of, counted_above, limiting
from sidecar.core.decided import HINTED, Decided, Judged, NotLeased, NotLoaded, Subject, hints_of
from sidecar.core.holding import Owned, owned_above
from sidecar.core.keys import KeyTable
from sidecar.core.leases import Leases
from sidecar.core.link import Link
from sidecar.core.metered import MeteredJudge
from sidecar.core.moment import Moment
from sidecar.core.money import monies_of
from sidecar.core.outage import OutageSpending
from sidecar.core.paying import tariff_of, with_credits
from sidecar.core.rate_shares import RateShares
from sidecar.core.rates import RateBuckets
from sidecar.core.releasing import is_release, not_releasable
from sidecar.core.request import Kind, Request
from sidecar.core.reservations import Reservations
from sidecar.core.shadow import Shadow
from sidecar.core.snapshots import CustomerState, SnapshotCache
from weighbridge.rules.catalog import Customer, Enforcement, Entitlement, Feature, FeatureType
from weighbridge.rules.decision import (
    ALLOWED,
    DecidedBy,
    LimitState,
    Reason,
    Verdict,
    decide_plain,
    held,
    observed,
    refused,
)
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.errors import FailedPreconditionError, InvalidArgumentError
from weighbridge.rules.granting import Bounded, Grant, NoGrant, bounded
from weighbridge.rules.units import COUNTER_MAX


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
        hold_share_percent_max: int = 100,
    ) -> None:
        self.cache = cache
        self.book = book
        self.keys = keys
        self.link = link
        self.spending = OutageSpending()
        self.rate_shares = RateShares()
        self.rates = RateBuckets(self.rate_shares)
        self.leases = Leases()
        self.reservations = Reservations()
        self._metered = MeteredJudge(
            self.leases, self.reservations, self.rates, self.spending, self.is_outage
        )
        self._metered.hold_share_percent_max = hold_share_percent_max
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
        if self.shadow is not None:
            self.shadow.compare(self.cache, decided)

    def resolve(
        self, customer: str, resource: str, moment: Moment
    ) -> tuple[CustomerState, PlanCompiler, Grant | NoGrant] | Reason | NotLoaded:
        """Find a customer and what it has now; or why there is nothing to find."""
        state = self.cache.find(customer)
        if state is None:
            if not self.cache.is_absent(customer):
                return self._require_may_hold(customer)
            state = self.cache.stand_in(customer)
            if state is None:
                return Reason.CUSTOMER_UNKNOWN
        compiler = self.cache.compiler(state.customer.catalog)
        if compiler is None:
            # Only a tombstone can be held without its catalog.
            return Reason.REVOKED
        if state.parent:
            missing = self.cache.missing_above(state, compiler, moment.now_ms)
            if missing:
                absent = self.cache.is_absent(missing)
                return Reason.CUSTOMER_UNKNOWN if absent else NotLoaded(missing)
        return state, compiler, state.grant(compiler, resource, moment.now_ms)

    def _require_may_hold(self, customer: str) -> NotLoaded:
        if not self.cache.may_hold(customer):
            raise FailedPreconditionError(
                f"customer: this sidecar holds a fixed list of customers, without {customer!r}"
            )
        return NotLoaded(customer)

    def decide(self, request: Request, moment: Moment) -> Decided | NotLoaded | NotLeased:
        """Decide one call. Changes nothing."""
        if request.kind is Kind.REPORT and not self.cache.is_whole(request.customer):
            return self._without_snapshot(request, moment, ALLOWED, DecidedBy.CACHE)
        resolved = self.resolve(request.customer, request.resource, moment)
        if isinstance(resolved, NotLoaded):
            return self._unloaded(request, moment, resolved)
        if isinstance(resolved, Reason):
            ancestors = self.cache.ancestors(request.customer)
            return self._plain_refusal(request, moment, resolved)._replace(ancestors=ancestors)
        state, compiler, grant = resolved
        feature = compiler.catalog.features.get(request.feature)
        if isinstance(grant, NoGrant) or feature is None:
            self.book.close(request.customer, (request.resource, request.feature))
        if isinstance(grant, NoGrant):
            decided = self._without_grant(request, moment, grant.reason, state, feature)
            is_above = grant.limited_by and not decided.verdict.allowed
            return decided._replace(limited_by=grant.limited_by) if is_above else decided
        if feature is None:
            return self._plain_refusal(request, moment, Reason.FEATURE_UNKNOWN, state)
        return self._decide_for(Subject(request, state, compiler, grant, feature, moment))

    def _decide_for(self, subject: Subject) -> Decided | NotLeased:
        request, state, compiler, _, feature, moment, _ = subject
        judged = self._judge(subject)
        if isinstance(judged, NotLeased):
            return judged
        return Decided(
            request,
            judged.verdict,
            judged.decided_by,
            feature,
            hints_of(subject._replace(tariff=judged.tariff), judged)
            if judged.verdict.reason in HINTED
            else (),
            compiler.catalog.version,
            state.customer.version,
            self.link.snapshot_age_ms(moment.boot_ms),
            moment.now_ms,
            rates=judged.rates,
            ancestors=state.ancestors,
            limited_by=judged.limited_by,
            rates_above=buckets_of(judged.counted) if judged.counted else (),
            takes=judged.takes,
            states=judged.states,
            counted=judged.counted,
            spent=judged.spent,
            spend=judged.spend,
            tariff=judged.tariff,
            credits_held=judged.credits_held,
        )

    def tidy(self, moment: Moment) -> None:
        """Give back what nobody spends here."""
        self.leases.tidy(moment.now_ms, moment.boot_ms)
        self.rate_shares.tidy(moment.boot_ms, is_outage=self.is_outage(moment))

    def give_back_all(self, boot_ms: int) -> None:
        """Give back whatever was given to spend: this sidecar stops."""
        self.leases.give_back_all()
        self.rate_shares.give_back_all(boot_ms)

    def has_returns(self) -> bool:
        """Whether the control plane is to be told of what is given back."""
        return bool(self.leases.unreported) or self.rate_shares.has_request

    def forget(self, customer: str, boot_ms: int) -> None:
        """Drop what a customer used, and what was taken from its rates."""
        self.book.forget(customer)
        self.rates.forget(customer)
        self.rate_shares.forget(customer, boot_ms)

    def window_is_new(self, customer: Customer, compiler: PlanCompiler) -> None:
        """Ask for the totals of a window that the customer's snapshot could not know of."""
        if compiler.catalog.version > customer.catalog_version_min:
            self.on_refresh_wanted(customer.id)

    def counted_above(self, bounds: Bounded, feature: Feature, moment: Moment) -> list[Counted]:
        """Return what counts on a feature above a customer."""
        if not bounds.levels:
            return []
        counted = counted_above(self.book, self.rates, bounds, feature, moment)
        for each in counted:
            if each.has_new:
                self._window_of_is_new(each.level.customer)
        return counted

    def place_usage(self, customer: str) -> None:
        """Count usage with those above a customer that are known by now."""
        if customer not in self.book.unplaced:
            return
        ancestors = self.cache.ancestors(customer)
        if ancestors is None:
            return
        for usage in self.book.unplaced.take(customer):
            for ancestor in ancestors:
                key = ("", usage.feature)
                self.book.record_late(ancestor, key, usage.position, usage.units)
        for ancestor in ancestors:
            # What was pushed of them meanwhile may have included it.
            self.on_refresh_wanted(ancestor)
            self.on_changed(ancestor)

    def _judge(self, subject: Subject) -> Judged | NotLeased:
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

    def _judge_feature(self, subject: Subject) -> Judged | NotLeased:
        request, feature = subject.request, subject.feature
        if feature.spend is not None:
            raise InvalidArgumentError(
                "feature",
                f"{feature.id!r} counts what usage of other features costs; ask for those",
            )
        if request.kind is not Kind.CHECK and feature.type is not FeatureType.METERED:
            raise InvalidArgumentError(
                "feature",
                f"{feature.id!r} is a {feature.type.value} feature; usage is recorded on metered "
                "features, this one is asked for with Check",
            )
        if subject.grant.above is not None:
            return self._judge_under(subject, bounded(subject.grant, feature.id))
        entitlement = subject.grant.entitlements.get(feature.id)
        if entitlement is None or not entitlement.enabled:
            self.book.close(request.customer, (request.resource, request.feature))
            # What is held can be given back whatever the plan has by now.
            is_taken = is_release(request, feature)
            verdict = ALLOWED if is_taken else refused(Reason.FEATURE_NOT_IN_PLAN)
            return Judged(verdict, DecidedBy.CACHE)
        if feature.type is not FeatureType.METERED:
            verdict = decide_plain(feature.type, entitlement, request.amount, request.value)
            return Judged(verdict, DecidedBy.CACHE)
        return self._judge_metered(subject, entitlement)

    def _judge_under(self, subject: Subject, bounds: Bounded) -> Judged | NotLeased:
        """Decide where the customer has others above it: they all have to admit it as well."""
        request, feature, moment = subject.request, subject.feature, subject.moment
        entitlement, limited_by, _ = bounds
        if entitlement is None:
            if is_release(request, feature):
                return Judged(ALLOWED, DecidedBy.CACHE)
            refusal = refused(Reason.FEATURE_NOT_IN_PLAN)
            return Judged(refusal, DecidedBy.CACHE, limited_by=limited_by)
        if feature.type is not FeatureType.METERED:
            verdict = decide_plain(feature.type, entitlement, request.amount, request.value)
            return Judged(verdict, DecidedBy.CACHE, limited_by=limited_by)
        counted = self.counted_above(bounds, feature, moment)
        judged = self._judge_metered(subject, entitlement, counted)
        if isinstance(judged, NotLeased):
            return judged
        limited_by = judged.limited_by or limiting(judged.verdict, counted)
        return judged._replace(limited_by=limited_by, counted=counted)

    def _own_states(self, subject: Subject, entitlement: Entitlement) -> Sequence[LimitState]:
        request = subject.request
        key = (request.resource, request.feature)
        if not entitlement.limits:
            if self.book.find(request.customer, key) is not None:
                self.book.close(request.customer, key)
            return ()
        usage = self.book.open(request.customer, key)
        states, has_new = usage.states(
            entitlement, subject.grant.subscription.anchor_ms, subject.moment.now_ms
        )
        if has_new:
            self.window_is_new(subject.state.customer, subject.compiler)
        return held(states) if subject.feature.is_allocation else states

    def _judge_metered(
        self, subject: Subject, entitlement: Entitlement, counted: Sequence[Counted] = ()
    ) -> Judged | NotLeased:
        """Decide against all limits, and what pays for it."""
        if entitlement.credit is not None or subject.request.is_priced:
            subject = subject._replace(tariff=tariff_of(subject, entitlement.credit))
        judged = self._judge_units(subject, entitlement, counted)
        if subject.tariff is None or isinstance(judged, NotLeased):
            return judged
        return with_credits(judged, subject.tariff, self.leases, subject.moment)

    def _judge_units(
        self, subject: Subject, entitlement: Entitlement, counted: Sequence[Counted]
    ) -> Judged | NotLeased:
        """Decide against the customer's own limits, and those that are counted above it."""
        request = subject.request
        if request.units < 0 and not subject.feature.is_allocation:
            raise not_releasable(subject.feature, request.units)
        states = self._own_states(subject, entitlement)
        key = (request.resource, request.feature)
        owned = [Owned(request.customer, key, states, subject.basis)]
        if counted:
            owned += owned_above(self.cache, subject.compiler, subject.feature.id, counted)
        if not subject.compiler.spending or request.units <= 0:
            return self._metered.judge(subject, owned, entitlement.rates, counted)
        monies = monies_of(subject, self.book, self.cache, self._window_of_is_new)
        return self._metered.judge(subject, owned, entitlement.rates, counted, monies)

    def _window_of_is_new(self, customer: str) -> None:
        state = self.cache.find(customer)
        compiler = None if state is None else self.cache.compiler(state.customer.catalog)
        if state is not None and compiler is not None:
            self.window_is_new(state.customer, compiler)

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
        return decided._replace(verdict=ALLOWED) if is_release(request, feature) else decided

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
        return Decided(
            request, verdict, decided_by, None, (), 0, 0, age_ms, moment.now_ms, ancestors=None
        )

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
            ancestors=state.ancestors,
        )


def _ignore(_customer: str) -> None:
    return
