"""The decision on a metered feature: limits and rates, leases, and outages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sidecar.core.counting import Counted, with_rates_above
from sidecar.core.decided import Judged, NotLeased, Subject
from sidecar.core.holding import (
    NOTHING,
    PERCENT,
    Cover,
    Owned,
    as_granted,
    cover_of,
    exhausted,
    owner_of,
    with_holds,
    within_share,
)
from sidecar.core.leases import Leases, Take
from sidecar.core.moment import Moment
from sidecar.core.money import Money, cover_money, with_money
from sidecar.core.outage import OutageSpending, Spent, apply_outage_policy
from sidecar.core.purses import cover_credits
from sidecar.core.rate_shares import RateLack
from sidecar.core.rates import RateBuckets, Used
from sidecar.core.releasing import given_back
from sidecar.core.request import Kind
from sidecar.core.reservations import Reservations
from weighbridge.rules.catalog import Enforcement, OutageKind
from weighbridge.rules.decision import DecidedBy, Reason, apply_rates, decide_metered, refused
from weighbridge.rules.rate import Rate


class MeteredJudge:
    """Judges metered features, with what the gate knows."""

    def __init__(
        self,
        leases: Leases,
        reservations: Reservations,
        rates: RateBuckets,
        spending: OutageSpending,
        is_outage: Callable[[Moment], bool],
    ) -> None:
        self._leases = leases
        self._reservations = reservations
        self._rates = rates
        self._spending = spending
        self._is_outage = is_outage
        # How much of a hard limit one hold may take.
        self.hold_share_percent_max = PERCENT

    def judge(
        self,
        subject: Subject,
        owned: Sequence[Owned],
        rates: tuple[Rate, ...],
        counted: Sequence[Counted],
        monies: Sequence[Money] = (),
    ) -> Judged | NotLeased:
        """Judge against the limits of everybody concerned; the customer's own come first."""
        judged = self._judge(subject, owned, rates, counted, monies)
        if monies and isinstance(judged, Judged):
            return with_money(judged, monies, subject, self.hold_share_percent_max)
        return judged

    def _judge(
        self,
        subject: Subject,
        owned: Sequence[Owned],
        rates: tuple[Rate, ...],
        counted: Sequence[Counted],
        monies: Sequence[Money],
    ) -> Judged | NotLeased:
        moment = subject.moment
        if len(self._reservations):
            owned = with_holds(self._reservations, owned, moment.now_ms)
        judged = self._judge_limits(subject, owned, rates)
        unshared = self._unshared(subject, judged, counted) if rates or counted else ()
        if unshared:
            if not self._is_outage(moment):
                return NotLeased((), unshared)
            judged, counted = self._judge_unshared(subject, judged, counted, unshared)
        return self._judge_rest(subject, judged, owned, counted, monies)

    def _judge_rest(
        self,
        subject: Subject,
        judged: Judged,
        owned: Sequence[Owned],
        counted: Sequence[Counted],
        monies: Sequence[Money],
    ) -> Judged | NotLeased:
        """Judge by rates, leases and the outage policy."""
        if judged.decided_by is DecidedBy.OUTAGE_POLICY:
            return judged
        rated = self._judge_rates(subject, judged, counted)
        if subject.feature.is_leased or monies or subject.tariff is not None:
            leased = self._judge_leased(subject, rated, owned, counted, monies)
            if leased is not None:
                return leased
        if self._is_outage(subject.moment):
            # What this sidecar counts alone, such as rates, no outage makes uncertain.
            return self._judge_rates(subject, self._judge_outage(subject, judged, owned), counted)
        return rated

    def _cover(self, subject: Subject, owned: Sequence[Owned], monies: Sequence[Money]) -> Cover:
        feature, units, moment = subject.feature, subject.request.units, subject.moment
        cover = NOTHING
        if feature.is_leased:
            is_exact = feature.is_authoritative
            cover = cover_of(self._leases, owned, units, moment, is_exact=is_exact)
        if monies and feature.enforcement is Enforcement.ENFORCE:
            cover = cover_money(self._leases, monies, cover, units, moment)
        tariff = subject.tariff
        if tariff is not None and tariff.is_hard:
            cover = cover_credits(self._leases, tariff, cover, units, moment)
        return cover

    def _judge_limits(
        self, subject: Subject, owned: Sequence[Owned], rates: tuple[Rate, ...]
    ) -> Judged:
        request = subject.request
        states = owned[0].states
        if len(owned) > 1:
            states = [state for each in owned for state in each.states]
        verdict = decide_metered(states, request.units, subject.moment.now_ms)
        if request.kind is Kind.RESERVE:
            verdict = within_share(verdict, states, request, self.hold_share_percent_max)
        limited_by = owner_of(verdict, owned[1:])
        takes: Sequence[Take] = ()
        if request.units < 0 and subject.feature.is_leased:
            takes = given_back(self._leases, owned, request.units)
        return Judged(verdict, DecidedBy.CACHE, states, rates, limited_by, takes=takes)

    def _judge_leased(
        self,
        subject: Subject,
        judged: Judged,
        owned: Sequence[Owned],
        counted: Sequence[Counted],
        monies: Sequence[Money],
    ) -> Judged | NotLeased | None:
        """Decide by leases; None where none are needed, or it is refused without them."""
        request = subject.request
        is_check = request.kind is Kind.CHECK
        if not request.is_admitted or (subject.feature.is_authoritative and is_check):
            return None
        if subject.feature.is_authoritative:
            return self._judge_upstream(subject, judged, owned, counted, monies)
        if not judged.verdict.allowed:
            return None
        cover = self._cover(subject, owned, monies)
        if cover.lacks:
            return self._judge_uncovered(subject, judged, cover, owned)
        if cover.takes:
            return judged._replace(decided_by=DecidedBy.LEASE, takes=cover.takes)
        return None

    def _judge_upstream(
        self,
        subject: Subject,
        judged: Judged,
        owned: Sequence[Owned],
        counted: Sequence[Counted],
        monies: Sequence[Money],
    ) -> Judged | NotLeased | None:
        """Decide by what the control plane grants this call, whatever the last totals say."""
        units = subject.request.units
        cover = self._cover(subject, owned, monies)
        if not cover.takes:
            return None
        granted = self._judge_limits(subject, as_granted(owned, units), judged.rates)
        granted = self._judge_rates(subject, granted, counted)
        if not granted.verdict.allowed:
            return granted
        if cover.lacks:
            return self._judge_uncovered(subject, judged, cover, owned)
        return granted._replace(decided_by=DecidedBy.CONTROL_PLANE, takes=cover.takes)

    def _judge_rates(self, subject: Subject, judged: Judged, counted: Sequence[Counted]) -> Judged:
        request = subject.request
        if not (judged.rates or counted) or request.kind is Kind.REPORT:
            return judged
        key = (request.resource, request.feature)
        boot_ms = subject.moment.boot_ms
        rates = self._rates.states(request.customer, key, judged.rates, boot_ms)
        verdict = apply_rates(judged.verdict, with_rates_above(rates, counted), request.units)
        return judged._replace(verdict=verdict)

    def _unshared(
        self, subject: Subject, judged: Judged, counted: Sequence[Counted]
    ) -> list[RateLack]:
        """Return the rates of which a share has to be had: where all else admits the call."""
        request, moment = subject.request, subject.moment
        is_open = judged.verdict.allowed or subject.feature.is_authoritative
        if not request.is_admitted or not is_open:
            return []
        if request.kind is Kind.CHECK and not self._is_outage(moment):
            # It is answered from what is known.
            return []
        wanted = Used(request.units, moment.boot_ms)
        key = (request.resource, request.feature)
        lacks = self._rates.lacks(request.customer, key, judged.rates, wanted)
        for each in counted:
            above = [state.rate for state in each.rates if not state.is_held]
            customer = each.level.customer
            lacks += self._rates.lacks(customer, ("", request.feature), above, wanted)
        return lacks

    def _judge_unshared(
        self,
        subject: Subject,
        judged: Judged,
        counted: Sequence[Counted],
        unshared: Sequence[RateLack],
    ) -> tuple[Judged, Sequence[Counted]]:
        """Have the outage policy say what becomes of rates of which there is no share."""
        match subject.feature.outage.kind:
            case OutageKind.DENY | OutageKind.LEASED:
                refusal = refused(Reason.OUTAGE_POLICY)
                outage = DecidedBy.OUTAGE_POLICY
                return judged._replace(verdict=refusal, decided_by=outage), counted
            case OutageKind.ALLOW:
                held = [
                    each._replace(rates=[s for s in each.rates if s.is_held]) for each in counted
                ]
                own = subject.request.customer
                missing = {lack.key.rate_id for lack in unshared if lack.key.customer == own}
                rates = tuple(rate for rate in judged.rates if rate.id not in missing)
                return judged._replace(rates=rates), held
            case _:
                # The last share goes on, and the whole rate where there never was one.
                return judged, counted

    def _judge_uncovered(
        self, subject: Subject, judged: Judged, cover: Cover, owned: Sequence[Owned]
    ) -> Judged | NotLeased:
        """Decide what no lease covers: refused by the control plane before, or to be asked for."""
        request, moment = subject.request, subject.moment
        if cover.refused is not None:
            verdict, owner = exhausted(cover, request.units, moment)
            limited_by = "" if owner == request.customer else owner
            is_asked = subject.feature.is_authoritative and cover.refused.spend is None
            is_asked = is_asked and cover.refused.tariff is None
            return judged._replace(
                verdict=verdict,
                decided_by=DecidedBy.CONTROL_PLANE if is_asked else DecidedBy.LEASE,
                limited_by=limited_by,
                spend=cover.refused.spend,
            )
        if self._is_outage(moment):
            if cover.lacks_money:
                # Money and credits are spent as far as leased, whatever the feature's policy.
                verdict = refused(Reason.OUTAGE_POLICY)
                return judged._replace(verdict=verdict, decided_by=DecidedBy.OUTAGE_POLICY)
            return _with_leased(self._judge_outage(subject, judged, owned), cover)
        return judged if request.kind is Kind.CHECK else NotLeased(cover.lacks)

    def _judge_outage(self, subject: Subject, judged: Judged, owned: Sequence[Owned]) -> Judged:
        spent = [
            Spent(each.states, self._spending.spent((each.customer, *each.key))) for each in owned
        ]
        policy, amount = subject.feature.outage, subject.request.units
        verdict = apply_outage_policy(policy, judged.verdict, spent, amount)
        return judged._replace(verdict=verdict, decided_by=DecidedBy.OUTAGE_POLICY)


def _with_leased(judged: Judged, cover: Cover) -> Judged:
    """Say in a refusal how much would pass: a part that leases cover, no policy is asked for."""
    verdict = judged.verdict
    if verdict.allowed:
        return judged
    leased = min(lack.covered for lack in cover.lacks)
    would_pass = max(verdict.allowed_amount or 0, leased)
    return judged._replace(verdict=verdict._replace(allowed_amount=would_pass or None))
