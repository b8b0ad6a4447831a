"""A batch: calls decided together, whose usage goes into one journal record.

`Batch.decide` counts usage at once, so that later calls of the batch see it; `commit` keeps it once
the record is on disk, `rollback` undoes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sidecar.core.book import Units, UnplacedUsage
from sidecar.core.decided import Decided, NotLeased, NotLoaded, Spent
from sidecar.core.gate import Gate
from sidecar.core.keys import KeyedAnswer, require_same_payload
from sidecar.core.leases import Take
from sidecar.core.moment import Moment
from sidecar.core.purses import note_spent
from sidecar.core.rates import Taken, Used
from sidecar.core.request import (
    REPORT_AHEAD_MS_MAX,
    REPORT_LATE_MS_MAX,
    CreditCharge,
    HoldRequest,
    KeyScope,
    Kind,
    Request,
    UsageEntry,
)
from sidecar.core.reserving import HoldOutcome, HoldStage
from sidecar.core.usage import Position
from weighbridge.rules.credits import Tariff
from weighbridge.rules.decision import Reason, Verdict
from weighbridge.rules.errors import InvalidArgumentError


class Replay(NamedTuple):
    """The call was answered before; the answer is in the journal."""

    request: Request | HoldRequest
    answer: KeyedAnswer


class SameAs(NamedTuple):
    """The call repeats one of this batch; `number` counts the keyed entries of the batch."""

    request: Request | HoldRequest
    number: int


Undecided = NotLoaded | NotLeased
Outcome = Decided | HoldOutcome | Undecided | Replay | SameAs


class _Staged(NamedTuple):
    """Usage that was counted, with the customer and with all `ancestors` (None: not known)."""

    request: Request
    units: Units
    taken: tuple[Taken, ...]
    ancestors: tuple[str, ...] | None
    takes: Sequence[Take]
    spent: Spent


class _Sum:
    """What the calls come to that one entry stands for."""

    __slots__ = ("amount", "calls", "credit", "place", "spent")

    def __init__(self, place: int, amount: int, spent: Spent, credit: CreditCharge | None) -> None:
        self.place = place
        self.amount = amount
        self.calls = 1
        self.spent = spent
        self.credit = credit


class Batch:
    """Calls decided together, whose usage goes into one journal record."""

    def __init__(self, gate: Gate, position: Position, moment: Moment) -> None:
        self._gate = gate
        self._position = position
        self._moment = moment
        self._is_outage = gate.is_outage(moment)
        self._staged: list[_Staged] = []
        self._keys: dict[tuple[str, str], tuple[bytes, int]] = {}
        self._sums: dict[tuple[str, str, str, Kind, Tariff | None], _Sum] = {}
        self._entries: list[UsageEntry] = []
        # Units drawn from leases, by lease.
        self.draws: dict[int, int] = {}
        self.holds = HoldStage(gate, moment, self, position.number)
        # Of the keyed answers, those about holds: their key and digest, by the answer's number.
        self.hold_keys: dict[int, tuple[str, str, bytes]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to record."""
        return not (self._entries or self.holds.opened or self.holds.closed)

    @property
    def entries(self) -> Sequence[UsageEntry]:
        """The usage to record."""
        for each in self._sums.values():
            entry = self._entries[each.place]
            if entry.calls != each.calls:
                self._entries[each.place] = entry._replace(
                    amount=each.amount, calls=each.calls, spent=each.spent, credit=each.credit
                )
        return self._entries

    def decide(self, request: Request | HoldRequest) -> Outcome:
        """Decide one call, and stage its usage where it is to be recorded.

        Raises a WeighbridgeError for a broken call, which has then staged nothing.
        """
        if isinstance(request, HoldRequest):
            return self._decide_hold(request)
        if request.kind is Kind.CHECK:
            return self._count(self._gate.decide(request, self._moment))
        digest = b""
        if request.key:
            digest = request.payload_digest()
            repeated = self._find_repeated(request, digest)
            if repeated is not None:
                return repeated
        decided = self._gate.decide(request, self._moment)
        if request.kind is Kind.REPORT:
            decided = self._admit_report(request, decided)
        else:
            self._count(decided)
        if not isinstance(decided, Decided) or not decided.verdict.allowed:
            return decided
        if request.key:
            self._gate.keys.require_room(len(self._keys), self._moment.now_ms)
        self._stage(request, digest, decided)
        return decided.recorded()

    def charge(self, request: Request) -> Decided:
        """Record usage that a hold was settled with, whatever the limits say."""
        decided = self._admit_report(request, self._gate.decide(request, self._moment))
        self._stage(request, b"", decided, Kind.SETTLE)
        return decided.recorded()

    def count(self, decided: Decided | Undecided) -> None:
        """Count a decision that is given as an answer."""
        self._count(decided)

    def _decide_hold(self, request: HoldRequest) -> Outcome:
        if request.kind is Kind.EXTEND:
            return self.holds.decide(request)
        digest = request.payload_digest()
        repeated = self._find_repeated(request, digest)
        if repeated is not None:
            return repeated
        self._gate.keys.require_room(len(self._keys), self._moment.now_ms)
        outcome = self.holds.decide(request)
        if not isinstance(outcome, HoldOutcome) or outcome.hold is None:
            return outcome
        number = len(self._keys)
        self._keys[request.customer, request.key] = (digest, number)
        self.hold_keys[number] = (request.customer, request.key, digest)
        return outcome._replace(keyed=number)

    def commit(self) -> None:
        """Keep what was staged: its record is on disk."""
        used_at_ms = self._moment.now_ms
        for (customer, key), (digest, index) in self._keys.items():
            answer = KeyedAnswer(digest, self._position, index)
            self._gate.keys.add(customer, key, answer, used_at_ms)
        changed = {staged.request.customer for staged in self._staged}
        for staged in self._staged:
            if staged.ancestors:
                changed.update(staged.ancestors)
        for hold in self.holds.changed:
            changed.add(hold.customer)
            changed.update(hold.ancestors)
        for customer in changed:
            self._gate.on_changed(customer)

    def rollback(self) -> None:
        """Undo what was staged: its record could not be written."""
        self.holds.rollback()
        for request, units, taken, ancestors, takes, spent in reversed(self._staged):
            for pool, drawn in takes:
                if drawn < 0:
                    self._gate.leases.put_back(pool, drawn, self._position.number)
                else:
                    self._gate.leases.undraw(pool, drawn)
            for feature, micros in reversed(spent):
                money = Units(units.at_ms, micros)
                place = (request.customer, request.resource, feature)
                self._gate.book.take_back_spent(place, money, ancestors)
            key = (request.resource, request.feature)
            if ancestors is None or ancestors:
                self._take_back_above(request, units, ancestors)
            self._gate.book.take_back(request.customer, key, units)
            self._gate.rates.give_back(taken)
            if self._is_outage:
                self._gate.spending.add((request.customer, *key), -units.amount)

    def _find_repeated(
        self, request: Request | HoldRequest, digest: bytes
    ) -> Replay | SameAs | None:
        staged = self._keys.get((request.customer, request.key))
        if staged is not None:
            require_same_payload(request.key, staged[0], digest)
            return SameAs(request, staged[1])
        found = self._gate.keys.find(request.customer, request.key, digest)
        return None if found is None else Replay(request, found)

    def _count(self, decided: Decided | Undecided) -> Decided | Undecided:
        if isinstance(decided, Decided):
            self._gate.count(decided)
            if decided.verdict.rate is not None and decided.request.kind is not Kind.CHECK:
                self._note_refused(decided)
        return decided

    def _admit_report(self, request: Request, decided: Decided | Undecided) -> Decided:
        """Admit usage that happened, whatever the limits say; past a hard one it is overage."""
        at_ms, now_ms = request.occurred_at_ms, self._moment.now_ms
        if at_ms is not None and not (
            now_ms - REPORT_LATE_MS_MAX <= at_ms <= now_ms + REPORT_AHEAD_MS_MAX
        ):
            raise InvalidArgumentError(
                "occurred_at_unix_ms", f"{at_ms} is not within 35 days back and 5 minutes ahead"
            )
        assert isinstance(decided, Decided), "a report never waits for a customer"
        verdict = decided.verdict
        if verdict.allowed:
            return decided
        overage = 0
        if verdict.reason is Reason.LIMIT_REACHED:
            overage = request.units - (verdict.allowed_amount or 0)
        return decided._replace(verdict=Verdict(allowed=True, overage=overage))

    def _stage(
        self, request: Request, digest: bytes, decided: Decided, kind: Kind | None = None
    ) -> None:
        at_ms = request.occurred_at_ms
        units = Units(self._moment.now_ms if at_ms is None else at_ms, request.units)
        key = (request.resource, request.feature)
        self._gate.book.record(request.customer, key, self._position, units)
        if self._is_outage:
            self._gate.spending.add((request.customer, *key), units.amount)
        ancestors = decided.ancestors
        if ancestors is None or ancestors:
            self._count_above(request, units, ancestors)
        taken = self._take_rates(decided, units)
        takes = decided.takes if units.amount >= 0 else self._release(decided)
        if takes:
            self._gate.leases.draw_all(takes, self.draws, self._moment.boot_ms)
        is_paid = request.is_priced or decided.tariff is not None
        credit = self._charge_credits(decided, takes) if is_paid else None
        if decided.spent:
            self._record_spent(decided, units.at_ms)
        self._staged.append(_Staged(request, units, taken, ancestors, takes, decided.spent))
        if self._gate.shadow is not None:
            self._gate.shadow.record(request, ancestors or (), units)
        kind = kind or request.kind
        is_summed = (
            not (request.key or request.dimensions) and at_ms is None and _is_sound(units, decided)
        )
        if is_summed and self._is_in_sum(request, kind, decided.spent, credit):
            return
        entry = UsageEntry(
            request.customer,
            request.resource,
            request.feature,
            units.amount,
            units.at_ms,
            kind,
            1,
            request.key,
            request.scope,
            digest,
            request.dimensions,
            decided.catalog_version,
            decided.snapshot_version,
            decided.spent,
            credit,
        )
        if request.key:
            self._keys[request.customer, request.key] = (digest, len(self._keys))
        self._entries.append(entry)

    def _release(self, decided: Decided) -> list[Take]:
        """Put units of an allocation back into the leases that gave them, as far as these did."""
        leases, request = self._gate.leases, decided.request
        leases.has_released = True
        is_fleetwide = request.key and request.scope is KeyScope.FLEET
        if is_fleetwide or request.kind is not Kind.CONSUME:
            # It may not count: another sidecar may have released them already.
            return []
        number = self._position.number
        return [take for take in decided.takes if leases.release(take.pool, -take.units, number)]

    def _charge_credits(self, decided: Decided, takes: Sequence[Take]) -> CreditCharge | None:
        request = decided.request
        tariff = request.tariff if request.is_priced else decided.tariff
        if tariff is None:
            return None
        note_spent(self._gate.leases, takes, self._moment.boot_ms)
        return CreditCharge(tariff, tariff.charge(request.units))

    def _record_spent(self, decided: Decided, at_ms: int) -> None:
        request = decided.request
        for feature, micros in decided.spent:
            place = (request.customer, request.resource, feature)
            money = Units(at_ms, micros)
            self._gate.book.record_spent(place, self._position, money, decided.ancestors)

    def _count_above(
        self, request: Request, units: Units, ancestors: tuple[str, ...] | None
    ) -> None:
        gate, key = self._gate, ("", request.feature)
        if ancestors is None:
            usage = UnplacedUsage(self._position, request.feature, units)
            gate.book.unplaced.keep(request.customer, usage)
            return
        for ancestor in ancestors:
            gate.book.record(ancestor, key, self._position, units)
            if self._is_outage:
                gate.spending.add((ancestor, *key), units.amount)

    def _take_back_above(
        self, request: Request, units: Units, ancestors: tuple[str, ...] | None
    ) -> None:
        gate, key = self._gate, ("", request.feature)
        if ancestors is None:
            gate.book.unplaced.take_back(request.customer, units)
            return
        for ancestor in ancestors:
            gate.book.take_back(ancestor, key, units)
            if self._is_outage:
                gate.spending.add((ancestor, *key), -units.amount)

    def _take_rates(self, decided: Decided, units: Units) -> tuple[Taken, ...]:
        # What would have been refused takes nothing, so that observing a rate shows what
        # enforcing it would do.
        has_none = not decided.rates and not decided.rates_above
        if has_none or decided.verdict.observed is not None:
            return ()
        request, moment = decided.request, self._moment
        key = (request.resource, request.feature)
        used = Used(units.amount, moment.boot_ms, max(moment.now_ms - units.at_ms, 0))
        rates = self._gate.rates
        taken = rates.take(request.customer, key, decided.rates, used)
        for ancestor, above in decided.rates_above:
            taken += rates.take(ancestor, ("", request.feature), above, used)
        return taken

    def _note_refused(self, decided: Decided) -> None:
        request, rates = decided.request, self._gate.rates
        asked = Used(request.units, self._moment.boot_ms)
        key = (request.resource, request.feature)
        rates.note_refused(request.customer, key, decided.rates, asked)
        for ancestor, above in decided.rates_above:
            rates.note_refused(ancestor, ("", request.feature), above, asked)

    def _is_in_sum(
        self, request: Request, kind: Kind, spent: Spent, credit: CreditCharge | None
    ) -> bool:
        """Add to the entry of calls like this one; False: its own is to be the first of them."""
        tariff = None if credit is None else credit.tariff
        group = (request.customer, request.resource, request.feature, kind, tariff)
        found = self._sums.get(group)
        if found is None:
            self._sums[group] = _Sum(len(self._entries), request.units, spent, credit)
            return False
        found.amount += request.units
        found.calls += 1
        if credit is not None and found.credit is not None:
            found.credit = credit._replace(micro=found.credit.micro + credit.micro)
        if spent:
            found.spent = _both(found.spent, spent)
        return True


def _both(one: Spent, other: Spent) -> Spent:
    summed = dict(one)
    for feature, micros in other:
        summed[feature] = summed.get(feature, 0) + micros
    return tuple(summed.items())


def _is_sound(units: Units, decided: Decided) -> bool:
    """Whether the feature is known to take the amount.

    Else a negative one stays by itself, so that the control plane can set it aside.
    """
    return units.amount >= 0 or decided.feature is not None
