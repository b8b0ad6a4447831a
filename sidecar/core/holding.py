"""Whether leases cover a call: every hard limit's, or the call takes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Final, NamedTuple

from sidecar.core.book import FeatureKey
from sidecar.core.counting import Counted
from sidecar.core.leases import Lack, Leases, Refusal, Take
from sidecar.core.moment import Moment
from sidecar.core.request import Request
from sidecar.core.reservations import Reservations
from sidecar.core.snapshots import SnapshotCache
from weighbridge.rules.catalog import Feature, LimitKind
from weighbridge.rules.credits import Tariff
from weighbridge.rules.decision import LimitState, Reason, Verdict, leases_exhausted, refused
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.lease import PoolKey
from weighbridge.rules.moving import oldest_bucket_ms
from weighbridge.rules.reservation import share_of
from weighbridge.rules.window import WindowBounds, WindowKind

PERCENT: Final = 100
_ROLLING: Final = WindowBounds(0, None)

Basis = tuple[object, ...]
"""What somebody's limits follow from: another one may have brought other limits meanwhile."""


class Owned(NamedTuple):
    """The limits of the customer, or of one above it, as they are now."""

    customer: str
    key: FeatureKey
    states: Sequence[LimitState]
    basis: Basis = ()


class Refused(NamedTuple):
    """A limit of which the control plane said that there is no more, and whose it is.

    Of the call's amount, what is here and what the pool has left elsewhere cover `covered`.
    """

    customer: str
    state: LimitState | None
    refusal: Refusal
    covered: int
    # Where it is a limit of money.
    spend: Feature | None = None
    # Where it is a balance of credits; then there is no state.
    tariff: Tariff | None = None


class Cover(NamedTuple):
    """What a call draws; what the pools lack; and a refusal that covers the lack."""

    takes: Sequence[Take]
    lacks: Sequence[Lack]
    refused: Refused | None
    lacks_money: bool = False


NOTHING: Final = Cover((), (), None)


def cover_of(
    leases: Leases,
    owned: Sequence[Owned],
    amount: int,
    moment: Moment,
    *,
    is_exact: bool = False,
) -> Cover:
    """Return what leases cover of an amount. Changes nothing but what is known of pools.

    `is_exact`: nothing is kept in these pools, so all of it is asked for, or is here.
    """
    boot_ms = moment.boot_ms
    takes: list[Take] = []
    lacks: list[Lack] = []
    known: Refused | None = None
    for customer, (resource, feature), states, basis in owned:
        for state in states:
            limit = state.limit
            if not is_leased(state) or limit.limit is None:
                continue
            bounds = _bounds_of_pool(state)
            key = PoolKey(customer, resource, feature, limit.id, bounds.start_ms)
            pool = leases.open(key, bounds.end_ms, boot_ms)
            takes.append(Take(pool, amount))
            if pool.basis != basis:
                leases.rebase(pool, basis)
                pool.is_exact = is_exact
            missing = amount - leases.spendable(pool, limit.limit, boot_ms)
            if missing <= 0:
                continue
            if is_exact:
                missing = amount
            covered = max(amount - missing, 0)
            lacks.append(Lack(pool, missing, limit.limit, covered))
            refusal = pool.refuses(limit.limit, missing, boot_ms)
            if refusal is not None:
                found = Refused(customer, state, refusal, covered + refusal.available)
                known = found if known is None else min(known, found, key=covered_by)
    return Cover(takes, lacks, known)


def _bounds_of_pool(state: LimitState) -> WindowBounds:
    if state.limit.window.length_ms is not None:
        # Units leave a rolling window; it never turns.
        return _ROLLING
    assert state.bounds is not None, "windows that turn always lie somewhere"
    return state.bounds


def covered_by(found: Refused) -> int:
    """Return how much of a call's amount would pass."""
    return found.covered


def as_granted(owned: Sequence[Owned], amount: int) -> list[Owned]:
    """Return the limits as they are for a call whose amount is granted.

    Others may have given units back that the last totals count still.
    """
    return [
        each._replace(states=[_with_room(state, amount) for state in each.states]) for each in owned
    ]


def _with_room(state: LimitState, amount: int) -> LimitState:
    limit = state.limit.limit
    if limit is None or not is_leased(state):
        return state
    return state._replace(used=min(state.used, limit - amount))


def is_leased(state: LimitState) -> bool:
    """Whether a limit is spent from leases, where its feature's limits are."""
    limit = state.limit
    is_hard = limit.kind is LimitKind.HARD and limit.limit is not None
    return is_hard and limit.window.kind is not WindowKind.SESSION


def owned_above(
    cache: SnapshotCache, compiler: PlanCompiler, feature: str, counted: Sequence[Counted]
) -> list[Owned]:
    """Return the limits of everybody above a customer."""
    owned = []
    for each in counted:
        state = cache.find(each.level.customer)
        version = None if state is None else state.customer.version
        basis = (version, compiler.catalog.edition, each.level.changes_at_ms)
        owned.append(Owned(each.level.customer, ("", feature), each.states, basis))
    return owned


def with_holds(reservations: Reservations, owned: Sequence[Owned], now_ms: int) -> list[Owned]:
    """Count what is held as used."""
    return [
        each._replace(states=_with_held(reservations, each, now_ms)) if each.states else each
        for each in owned
    ]


def within_share(
    verdict: Verdict, states: Sequence[LimitState], request: Request, percent: int
) -> Verdict:
    """Refuse a hold that is more than one request may take of a hard limit."""
    if percent >= PERCENT:
        return verdict
    rooms = [
        (max(share_of(state.limit.limit, percent) - request.held_before, 0), state)
        for state in states
        if state.limit.limit is not None and state.limit.kind is LimitKind.HARD
    ]
    if not rooms:
        return verdict
    room, state = min(rooms, key=itemgetter(0))
    if not verdict.allowed:
        return verdict._replace(allowed_amount=min(verdict.allowed_amount or 0, room) or None)
    if request.units <= room:
        return verdict
    return Verdict(
        allowed=False, reason=Reason.LIMIT_REACHED, state=state, allowed_amount=room or None
    )


def _with_held(reservations: Reservations, owned: Owned, now_ms: int) -> list[LimitState]:
    customer, key, states, _ = owned
    added = [
        (state, reservations.held(customer, key, _bounds_of_holds(state, now_ms)))
        for state in states
    ]
    return [s._replace(used=s.used + held, reserved=held) if held else s for s, held in added]


def _bounds_of_holds(state: LimitState, now_ms: int) -> WindowBounds | None:
    """Return when holds were opened that will count, once settled, in the window of now.

    Windows that lie where usage is need not be there yet.
    """
    window = state.limit.window
    if window.length_ms is None:
        return state.bounds
    if window.kind is WindowKind.ROLLING:
        return WindowBounds(oldest_bucket_ms(window.length_ms, now_ms), None)
    return WindowBounds(now_ms - window.length_ms + 1, None)


def owner_of(verdict: Verdict, owned: Sequence[Owned]) -> str:
    """Return whose limit the verdict names; "" where it is none of these."""
    if verdict.state is not None:
        for each in owned:
            if any(state is verdict.state for state in each.states):
                return each.customer
    return ""


def exhausted(cover: Cover, amount: int, moment: Moment) -> tuple[Verdict, str]:
    """Return the refusal where the control plane has said that there is no more, and by whom."""
    assert cover.refused is not None, "there is a refusal"
    customer, state, refusal, would_pass, spend, _ = cover.refused
    # Units on sidecars that cannot be reached may come back at any time.
    again_ms = refusal.lapses_ms if refusal.unreachable else refusal.returns_ms
    retry_after_ms = max(again_ms - moment.boot_ms, 0) if again_ms else None
    would_pass = min(would_pass, amount - 1)
    if state is None:
        verdict = refused(Reason.CREDITS_EXHAUSTED)
        return verdict._replace(
            retry_after_ms=retry_after_ms, allowed_amount=would_pass or None
        ), customer
    verdict = leases_exhausted(state, would_pass, retry_after_ms, moment.now_ms)
    if spend is not None:
        # What is used is in micros, and known already.
        verdict = verdict._replace(reason=Reason.SPEND_LIMIT_REACHED, state=state)
    return verdict, customer
