"""Holds in a batch: opened, extended, settled, released and expired, each in the batch's record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from sidecar.core.decided import Decided, NotLeased, NotLoaded
from sidecar.core.gate import Gate
from sidecar.core.leases import Take
from sidecar.core.moment import Moment
from sidecar.core.purses import Tranche, note_spent
from sidecar.core.request import HoldRequest, Kind, Request
from sidecar.core.reservations import (
    DAY_MS,
    HELD_MS_MAX,
    TTL_MS_DEFAULT,
    Closing,
    HeldUnits,
    Hold,
    HoldEnd,
)
from weighbridge.rules.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    WeighbridgeError,
)
from weighbridge.rules.reservation import OVERDRAFT, ExcessKind, ExcessPolicy


class HoldOutcome(NamedTuple):
    """What became of a hold. `decided` is the decision on what is held in addition, if any.

    `used` is what a settlement charges, `uncharged` what was used besides; `keyed` says that the
    answer is kept for retries.
    """

    request: HoldRequest
    hold: Hold | None
    decided: Decided | None = None
    used: Decided | None = None
    keyed: int | None = None
    uncharged: int = 0

    @property
    def excess(self) -> int:
        """Units charged beyond what was held."""
        if self.used is None or self.hold is None:
            return 0
        return max(self.used.request.units - self.hold.held_amount, 0)


class Ledger(Protocol):
    """The part of a batch that holds need: what its record says was used and drawn."""

    draws: dict[int, int]

    def charge(self, request: Request) -> Decided:
        """Record usage that happened, whatever the limits say."""
        ...

    def count(self, decided: Decided | NotLoaded | NotLeased) -> None:
        """Count a decision that is given as an answer."""
        ...


class HoldStage:
    """The holds of one batch. `opened` and `closed` go into its record, of that number."""

    def __init__(self, gate: Gate, moment: Moment, ledger: Ledger, number: int) -> None:
        self._gate = gate
        self._number = number
        self._moment = moment
        self._ledger = ledger
        self._undo: list[Callable[[], None]] = []
        self.opened: list[Hold] = []
        self.closed: list[Closing] = []

    @property
    def changed(self) -> list[Hold]:
        """The holds that are not any more as they were."""
        return [*self.opened, *(closing.hold for closing in self.closed)]

    def decide(self, request: HoldRequest) -> HoldOutcome | NotLoaded | NotLeased:
        """Do what is asked. Raises a WeighbridgeError for a broken call, which changes nothing."""
        match request.kind:
            case Kind.RESERVE:
                return self._reserve(request)
            case Kind.EXTEND:
                return self._extend(request)
            case Kind.SETTLE:
                return self._settle(request)
            case _:
                return self._release(request)

    def expire(self, hold: Hold) -> None:
        """End a hold at its deadline; what the work used can still be settled.

        What a Meter has told is charged: whoever would settle it may be gone.
        """
        charged = self._charge_told(hold) if hold.used else None
        if charged is None:
            self._close(hold, HoldEnd.EXPIRED, used=0)
        self._put(hold._replace(has_expired=True, held=(), charged=charged or 0))

    def restate(self, hold: Hold) -> None:
        """Write an open hold again."""
        restated = hold._replace(restated_at_ms=self._moment.now_ms)
        self._put(restated)
        self.opened.append(restated)

    def rollback(self) -> None:
        """Undo what was staged: its record could not be written."""
        for undo in reversed(self._undo):
            undo()

    def _reserve(self, request: HoldRequest) -> HoldOutcome | NotLoaded | NotLeased:
        wanted = request.wanted
        assert wanted is not None, "a Reserve says what it wants"
        if self._gate.reservations.find(request.customer, request.reservation) is not None:
            raise AlreadyExistsError(
                f"reservation {request.reservation!r} of customer {request.customer!r} is open; "
                "extend, settle or release it, or choose another id"
            )
        decided = self._decide(wanted)
        if not isinstance(decided, Decided) or not decided.verdict.allowed:
            return HoldOutcome(request, None, decided) if isinstance(decided, Decided) else decided
        now_ms = self._moment.now_ms
        hold = Hold(
            customer=request.customer,
            reservation=request.reservation,
            resource=wanted.resource,
            feature=wanted.feature,
            amount=wanted.units,
            opened_at_ms=now_ms,
            expires_at_ms=now_ms + (request.ttl_ms or TTL_MS_DEFAULT),
            held=self._draw(decided.takes, wanted.units),
            dimensions=wanted.dimensions,
            catalog_version=decided.catalog_version,
            snapshot_version=decided.snapshot_version,
            ancestors=decided.ancestors or (),
            tariff=decided.tariff,
            restated_at_ms=now_ms,
        )
        self._put(hold)
        self.opened.append(hold)
        return HoldOutcome(request, hold, decided)

    def _extend(self, request: HoldRequest) -> HoldOutcome | NotLoaded | NotLeased:
        hold = self._gate.reservations.require(request.customer, request.reservation)
        if hold.has_expired:
            raise InvalidArgumentError(
                "reservation", f"{hold.reservation!r} has expired; settle it, and reserve anew"
            )
        amount = hold.amount if request.amount is None else request.amount
        if amount < hold.amount:
            raise InvalidArgumentError(
                "amount", f"{amount} is less than the {hold.amount} held; a hold only grows"
            )
        expires_at_ms = hold.expires_at_ms
        if request.ttl_ms is not None:
            expires_at_ms = self._moment.now_ms + request.ttl_ms
        if expires_at_ms - hold.opened_at_ms > HELD_MS_MAX:
            raise InvalidArgumentError(
                "ttl_ms",
                f"no hold lasts longer than {HELD_MS_MAX // DAY_MS} days in all; settle it",
            )
        more = Request(
            Kind.RESERVE,
            hold.customer,
            hold.resource,
            hold.feature,
            amount - hold.amount,
            dimensions=hold.dimensions,
            held_before=hold.amount,
            tariff=hold.tariff,
            is_priced=True,
        )
        decided = self._decide(more)
        if not isinstance(decided, Decided):
            return decided
        if not decided.verdict.allowed:
            return HoldOutcome(request, hold, decided)
        extended = hold._replace(
            amount=amount,
            expires_at_ms=expires_at_ms,
            held=_joined(hold.held, self._draw(decided.takes, more.units)),
            restated_at_ms=self._moment.now_ms,
        )
        self._put(extended)
        self.opened.append(extended)
        return HoldOutcome(request, extended, decided)

    def _settle(self, request: HoldRequest) -> HoldOutcome:
        hold = self._gate.reservations.require(request.customer, request.reservation)
        amount = request.amount or 0
        charged, used = self._charge(hold, amount, HoldEnd.SETTLED)
        return HoldOutcome(request, hold, used=used, uncharged=max(amount - charged, 0))

    def _charge_told(self, hold: Hold) -> int | None:
        """End a hold with what its Meter has told; None: it cannot be charged."""
        try:
            most = self._excess_of(hold).charged_max(hold.amount)
            told = hold.used if most is None else min(hold.used, most)
            return self._charge(hold, told, HoldEnd.EXPIRED)[0]
        except WeighbridgeError:
            # A Settle is refused for it too: it is of too long ago, or not metered any more.
            return None

    def _charge(self, hold: Hold, amount: int, end: HoldEnd) -> tuple[int, Decided]:
        """End a hold with so much used; return what of it is charged in all, and the charge."""
        charged, takes = self._charged(hold, amount)
        # Not held any more while it is judged, or it would count twice.
        self._drop(hold)
        try:
            used = self._ledger.charge(_settlement(hold, max(charged - hold.charged, 0)))
        except WeighbridgeError:
            self._undo.pop()()
            raise
        self._close(hold, end, used=charged)
        self._draw(takes, charged - hold.held_amount)
        return charged, used

    def _charged(self, hold: Hold, amount: int) -> tuple[int, Sequence[Take]]:
        """Return how much of what was used is charged, and what is drawn beyond what is held.

        Raises FailedPreconditionError where the feature's excess policy does not take it.
        """
        if amount <= hold.held_amount:
            return amount, ()
        if amount <= hold.amount:
            # It expired; what it held went back.
            return amount, self._available(hold, amount - hold.charged)[1]
        excess = self._excess_of(hold)
        most = excess.charged_max(hold.amount)
        if most is not None and amount > most:
            raise FailedPreconditionError(
                f"amount: {amount} is more than the {most} that reservation {hold.reservation!r} "
                f"can be settled with, which holds {hold.amount}: {hold.feature!r} has excess "
                f"{excess.kind.value}; settle {most} or fewer, or extend it first"
            )
        if excess.kind is ExcessKind.TAKE_AVAILABLE:
            covered = max(hold.amount, hold.charged)
            taken, takes = self._available(hold, amount - covered)
            return covered + taken, takes
        # What leases here cover is drawn; the rest is taken from what is available, or is overage.
        covered = hold.charged if hold.has_expired else hold.amount
        return amount, self._available(hold, amount - covered)[1]

    def _excess_of(self, hold: Hold) -> ExcessPolicy:
        known = self._gate.decide(_settlement(hold, 0), self._moment)
        feature = known.feature if isinstance(known, Decided) else None
        return OVERDRAFT if feature is None else feature.excess

    def _available(self, hold: Hold, units: int) -> tuple[int, Sequence[Take]]:
        """Return how many of the units limits and leases admit at once, and what to draw."""
        # At most: all of it, what the limits leave of that, what pools have, and what is here.
        for _ in range(4):
            if units <= 0:
                break
            more = Request(
                Kind.CONSUME,
                hold.customer,
                hold.resource,
                hold.feature,
                units,
                dimensions=hold.dimensions,
                tariff=hold.tariff,
                is_priced=True,
            )
            decided = self._gate.decide(more, self._moment)
            if isinstance(decided, NotLeased):
                # Without a share of a rate, nothing is known to pass.
                units = min((lack.covered for lack in decided.lacks), default=0)
            elif isinstance(decided, NotLoaded):
                break
            elif decided.verdict.allowed:
                # Where a window has turned since, the usage counts in the one before.
                opened_ms = hold.opened_at_ms
                return units, [t for t in decided.takes if t.pool.key.window_start_ms <= opened_ms]
            else:
                units = decided.verdict.allowed_amount or 0
        return 0, ()

    def _release(self, request: HoldRequest) -> HoldOutcome:
        hold = self._gate.reservations.require(request.customer, request.reservation)
        self._close(hold, HoldEnd.RELEASED, used=0)
        self._drop(hold)
        return HoldOutcome(request, hold)

    def _decide(self, request: Request) -> Decided | NotLoaded | NotLeased:
        decided = self._gate.decide(request, self._moment)
        self._ledger.count(decided)
        return decided

    def _draw(self, takes: Sequence[Take], amount: int) -> tuple[HeldUnits, ...]:
        """Draw what an amount takes."""
        if not amount:
            return ()
        leases, draws = self._gate.leases, self._ledger.draws
        for pool, units in takes:
            leases.draw(pool, units, self._moment.boot_ms)
            draws[pool.lease_id] = draws.get(pool.lease_id, 0) + units
            self._undo.append(
                lambda pool=pool, units=units: leases.undraw(pool, units)  # type: ignore[misc]
            )
        note_spent(leases, takes, self._moment.boot_ms)
        return tuple(
            HeldUnits(pool, pool.lease_id, units, amount, isinstance(pool, Tranche))
            for pool, units in takes
        )

    def _close(self, hold: Hold, end: HoldEnd, *, used: int) -> None:
        """End it in the record; one that had expired too, or a restart would find it again.

        What was not needed goes back into the leases it came from, where they are still held.
        """
        unused = max(hold.amount - used, 0)
        draws, leases = self._ledger.draws, self._gate.leases
        rest = 0
        if hold.tariff is not None:
            rest = sum(held.units for held in hold.held if held.is_credit)
            rest = max(rest - hold.tariff.charge(min(used, hold.amount)), 0)
        # Of credits, what burns last is given back first.
        for held in sorted(hold.held, key=_burns_last):
            pool, lease_id = held.pool, held.lease_id
            back = min(held.units, rest) if held.is_credit else held.surplus(unused)
            if back and pool is not None and leases.takes_back(pool, lease_id):
                leases.put_back(pool, back, self._number)
                rest -= back if held.is_credit else 0
                draws[lease_id] = draws.get(lease_id, 0) - back
                self._undo.append(
                    lambda pool=pool, back=back: leases.put_back(  # type: ignore[misc]
                        pool, -back, self._number
                    )
                )
        self.closed.append(Closing(hold, end, used if end is HoldEnd.EXPIRED else 0))

    def _put(self, hold: Hold) -> None:
        reservations = self._gate.reservations
        before = reservations.find(*hold.key)
        reservations.put(hold)
        self._undo.append(
            (lambda: reservations.drop(hold))
            if before is None
            else (lambda: reservations.put(before))
        )

    def _drop(self, hold: Hold) -> None:
        reservations = self._gate.reservations
        reservations.drop(hold)
        self._undo.append(lambda: reservations.put(hold))


def _settlement(hold: Hold, amount: int) -> Request:
    """Return the usage that a hold is settled with, at the instant of its Reserve."""
    return Request(
        Kind.REPORT,
        hold.customer,
        hold.resource,
        hold.feature,
        amount,
        dimensions=hold.dimensions,
        occurred_at_ms=hold.opened_at_ms,
        tariff=hold.tariff,
        is_priced=True,
    )


def _burns_last(held: HeldUnits) -> tuple[int, ...]:
    return tuple(-each for each in held.pool.rank) if isinstance(held.pool, Tranche) else ()


def _joined(held: Sequence[HeldUnits], more: Sequence[HeldUnits]) -> tuple[HeldUnits, ...]:
    joined = {(id(each.pool), each.lease_id): each for each in held}
    for each in more:
        key = (id(each.pool), each.lease_id)
        before = joined.get(key)
        joined[key] = each if before is None else before.with_more(each.units, each.amount)
    return tuple(joined.values())
