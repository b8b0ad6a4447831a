"""Spend limits of a call: whose they are, how they stand, and what leases cover of them.

What a call can cost is reckoned at the dearest unit price that it could reach, and drawn from
leases of money; the control plane gives back what it really cost less (docs/spend-limits.md). So
what a hard limit leaves is known to leases alone: totals here run ahead of the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from sidecar.core.book import UsageBook
from sidecar.core.decided import Judged, Subject
from sidecar.core.holding import PERCENT, Cover, Owned, Refused, covered_by
from sidecar.core.leases import Lack, Leases, Take
from sidecar.core.moment import Moment
from sidecar.core.request import Kind, Request
from sidecar.core.snapshots import SnapshotCache
from weighbridge.rules.catalog import Enforcement, Entitlement, Feature, LimitKind
from weighbridge.rules.decision import LimitState, Reason, Verdict
from weighbridge.rules.granting import lineage
from weighbridge.rules.lease import PoolKey
from weighbridge.rules.reservation import share_of
from weighbridge.rules.spending import PricedBy, chargeable, most_micros, units_within

OnNewWindow = Callable[[str], None]
"""Told of a customer with a window that only this sidecar's usage is known of."""


class Money(NamedTuple):
    """Limits of a spend feature, of the customer or of one above it; what the call can cost."""

    owned: Owned
    spend: Feature
    priced: Sequence[PricedBy]
    micros: int


class _Whose(NamedTuple):
    customer: str
    resource: str
    anchor_ms: int
    basis: tuple[object, ...]


def monies_of(
    subject: Subject, book: UsageBook, cache: SnapshotCache, on_new: OnNewWindow
) -> list[Money]:
    """Return the spend limits that a call counts in."""
    request = subject.request
    monies: list[Money] = []
    for spend in subject.compiler.spending.get(request.feature, ()):
        limiting = list(_limiting(subject, cache, spend.id))
        if not limiting:
            continue
        priced = prices_of(subject, spend)
        micros = most_micros(priced, request.units)
        if not micros:
            continue
        for whose, entitlement in limiting:
            key = (whose.resource, spend.id)
            usage = book.open(whose.customer, key)
            states, has_new = usage.states(entitlement, whose.anchor_ms, subject.moment.now_ms)
            if has_new:
                on_new(whose.customer)
            owned = Owned(whose.customer, key, states, whose.basis)
            monies.append(Money(owned, spend, priced, micros))
    return monies


def prices_of(subject: Subject, spend: Feature) -> Sequence[PricedBy]:
    """Return the prices that the call's usage goes to, but those whose allowance covers it."""
    request, grant = subject.request, subject.grant
    assert spend.spend is not None, spend.id
    sold = subject.compiler.prices(
        grant.plan, grant.subscription.add_ons, spend.spend.currency.code
    )
    priced = sold.find(request.feature, request.dimensions)
    if grant.inherited_from or request.kind is Kind.REPORT:
        # Others use up the same allowance; and what is only reported, no limit has bounded.
        return priced
    entitlement = grant.entitlements.get(request.feature)
    return chargeable(priced, subject.feature, entitlement, grant.subscription.quantity)


def _limiting(
    subject: Subject, cache: SnapshotCache, spend: str
) -> Iterator[tuple[_Whose, Entitlement]]:
    """Yield who has limits on a spend feature: the customer, and everybody above it."""
    request, grant = subject.request, subject.grant
    own = grant.entitlements.get(spend)
    if own is not None and own.enabled and own.limits:
        anchor_ms = grant.subscription.anchor_ms
        yield _Whose(request.customer, request.resource, anchor_ms, subject.basis), own
    for level in lineage(grant.above):
        said = level.entitlements.get(spend)
        if said is not None and said.enabled and said.limits:
            state = cache.find(level.customer)
            version = None if state is None else state.customer.version
            basis = (version, subject.compiler.catalog.edition, level.changes_at_ms)
            yield _Whose(level.customer, "", level.anchor_ms, basis), said


def cover_money(
    leases: Leases, monies: Sequence[Money], cover: Cover, amount: int, moment: Moment
) -> Cover:
    """Add what leases of money cover of a call. Changes nothing but what is known of pools."""
    takes, lacks, refused = [*cover.takes], [*cover.lacks], cover.refused
    boot_ms, lacks_money = moment.boot_ms, False
    for money in monies:
        customer, (resource, feature), states, basis = money.owned
        for state in states:
            limit, bounds = state.limit, state.bounds
            if limit.kind is not LimitKind.HARD or limit.limit is None or bounds is None:
                continue
            key = PoolKey(customer, resource, feature, limit.id, bounds.start_ms)
            pool = leases.open(key, bounds.end_ms, boot_ms)
            pool.is_money = True
            takes.append(Take(pool, money.micros))
            if pool.basis != basis:
                leases.rebase(pool, basis)
            here = leases.spendable(pool, limit.limit, boot_ms)
            missing = money.micros - here
            if missing <= 0:
                continue
            lacks_money = True
            covered = units_within(money.priced, here, amount)
            lacks.append(Lack(pool, missing, limit.limit, covered))
            refusal = pool.refuses(limit.limit, missing, boot_ms)
            if refusal is not None:
                left = here + refusal.available
                would_pass = units_within(money.priced, left, amount)
                # What is left of the limit is what is left to lease of it, and here.
                known = state._replace(used=max(limit.limit - left, 0))
                found = Refused(customer, known, refusal, would_pass, money.spend)
                refused = found if refused is None else min(refused, found, key=covered_by)
    return Cover(takes, lacks, refused, lacks_money)


def with_money(
    judged: Judged, monies: Sequence[Money], subject: Subject, hold_share_percent_max: int
) -> Judged:
    """Decide what leases do not: soft limits, checks and features that are only observed."""
    request = subject.request
    judged = judged._replace(spent=_spent(monies))
    if not judged.verdict.allowed or request.kind is Kind.REPORT:
        return judged
    is_covered = bool(judged.takes)
    is_observed = subject.feature.enforcement is Enforcement.OBSERVE
    overage = judged.verdict.overage
    for money in monies:
        for state in money.owned.states:
            limit = state.limit.limit
            if limit is None:
                continue
            if state.limit.kind is LimitKind.HARD:
                most = _most_at_once(request, limit, hold_share_percent_max)
                held = most_micros(money.priced, request.held_before + request.units)
                left = max(limit - state.used, 0)
                if held > most:
                    return _refused(judged, money, state, most, subject)
                if (not is_covered or is_observed) and money.micros > left:
                    return _refused(judged, money, state, left, subject)
            else:
                left = max(limit - state.used, 0)
                paid = units_within(money.priced, left, request.units)
                overage = max(overage, request.units - paid)
    return judged._replace(verdict=judged.verdict._replace(overage=overage))


def _spent(monies: Sequence[Money]) -> tuple[tuple[str, int], ...]:
    return tuple({money.spend.id: money.micros for money in monies}.items())


def _most_at_once(request: Request, limit: int, percent: int) -> int:
    is_hold = request.kind is Kind.RESERVE and percent < PERCENT
    return share_of(limit, percent) if is_hold else limit


def _refused(
    judged: Judged, money: Money, state: LimitState, left: int, subject: Subject
) -> Judged:
    request, now_ms = subject.request, subject.moment.now_ms
    would_pass = units_within(money.priced, left, request.units)
    end_ms = None if state.bounds is None else state.bounds.end_ms
    is_too_much = state.limit.limit is not None and money.micros > state.limit.limit
    verdict = Verdict(
        allowed=False,
        reason=Reason.SPEND_LIMIT_REACHED,
        state=state,
        retry_after_ms=None if end_ms is None or is_too_much else max(end_ms - now_ms, 0),
        allowed_amount=min(would_pass, request.units - 1) or None,
    )
    owner = money.owned.customer
    return judged._replace(
        verdict=verdict,
        limited_by="" if owner == request.customer else owner,
        takes=(),
        spend=money.spend,
    )
