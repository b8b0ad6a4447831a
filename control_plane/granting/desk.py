"""The desk where sidecars ask for leases: who waits, who is asked to give back, who is refused.

Sans-I/O: what arrives is put in, `take` gives the work of one transaction, and `posted` takes what
became of it and gives what is to be sent. Nothing is waited for here, and no clock is read;
`now_ms` is of a clock that never steps. All of it is bounded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from control_plane.granting.refusals import RefusedAskers
from control_plane.granting.work import (
    Asking,
    Granted,
    LeaseAnswer,
    LeaseLift,
    LeaseMessage,
    LeaseRecall,
    LeaseRequest,
    LeasesPosted,
    LeaseWork,
    Refusal,
    Short,
    Shortage,
    TermsRenewed,
)
from control_plane.leasing.accounts import EpochId, Gain
from control_plane.leasing.holding import HolderClaim, Returned
from weighbridge.rules.errors import ResourceExhaustedError
from weighbridge.rules.lease import PoolKey

REFUSED_MS_MAX: Final = 30_000
NOT_LEASED_MS: Final = 1_000
"""How long it holds that a pool is none: a snapshot on its way says so as well."""

REQUESTS_PER_SIDECAR_MAX: Final = 1_000
ASKINGS_PER_TRANSACTION: Final = 5_000
TICK_MS: Final = 1_000

Session = Hashable
"""A stream of a sidecar, whatever stands for it."""


class Delivery(NamedTuple):
    """A message for a session. `TermsRenewed(0)`: its hello was taken in."""

    session: Session
    message: LeaseMessage


@dataclass(slots=True)
class _Seat:
    """A session that is connected."""

    session: Session
    epoch: EpochId
    requests: int = 0
    has_leases: bool = False


@dataclass(slots=True)
class _Waiting:
    """A request that is not answered. `unanswered` are leases that were recalled for it."""

    number: int
    session: Session
    epoch: EpochId
    request: LeaseRequest
    deadline_ms: int | None = None
    unanswered: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Batch:
    """The work of one transaction, and for whom."""

    work: LeaseWork
    claimed: list[Session]
    renewed: dict[Session, int]
    askings: list[_Waiting]


@dataclass(slots=True)
class DeskCounts:
    """What was decided."""

    grants: int = 0
    refusals: int = 0
    recalls: int = 0


class LeaseDesk:
    """All sessions' requests. `recall_ms` is how long the desk waits for units to come back."""

    def __init__(self, recall_ms: int) -> None:
        self._recall_ms = recall_ms
        self._seats: dict[Session, _Seat] = {}
        self._by_sidecar: dict[str, _Seat] = {}
        self._claims: list[tuple[Session, HolderClaim]] = []
        self._renewals: dict[Session, int] = {}
        self._returns: list[tuple[Session, tuple[Returned, ...]]] = []
        # Numbered as they come, so that the oldest are served first.
        self._waiting: dict[int, _Waiting] = {}
        self._next = 0
        # Those to be tried, and those that wait for units to come back: the oldest deadline first.
        self._ready: set[int] = set()
        self._recalling: dict[int, _Waiting] = {}
        # Which requests wait for a lease that was recalled.
        self._recalled: defaultdict[int, set[int]] = defaultdict(set)
        self._refused = RefusedAskers()
        self._tick_ms = 0
        self._counts = DeskCounts()

    def __len__(self) -> int:
        """Return how many requests wait."""
        return len(self._waiting)

    def take_counts(self) -> DeskCounts:
        """Return what was decided since this was asked last."""
        counts, self._counts = self._counts, DeskCounts()
        return counts

    def has(self, session: Session) -> bool:
        """Whether the session is connected, and not replaced."""
        return session in self._seats

    def connect(self, session: Session, claim: HolderClaim) -> None:
        """Take in a hello; what an older stream of the sidecar asked for is dropped."""
        before = self._by_sidecar.get(claim.epoch[0])
        if before is not None:
            self.disconnect(before.session)
        seat = _Seat(session, claim.epoch)
        self._seats[session] = self._by_sidecar[claim.epoch[0]] = seat
        self._claims.append((session, claim))

    def disconnect(self, session: Session) -> None:
        """Drop a stream: its requests are answered by nobody, its leases cannot be recalled."""
        seat = self._seats.pop(session, None)
        if seat is None:
            return
        if self._by_sidecar.get(seat.epoch[0]) is seat:
            del self._by_sidecar[seat.epoch[0]]
        for waiting in [each for each in self._waiting.values() if each.session == session]:
            self._forget(waiting)
        self._refused.drop(session)
        self._claims = [claim for claim in self._claims if claim[0] != session]
        self._renewals.pop(session, None)

    def renew(self, session: Session, number: int) -> Sequence[Delivery]:
        """Take in a sign of life. Where nothing is leased there is nothing to extend."""
        seat = self._seats.get(session)
        if seat is None:
            return ()
        if not seat.has_leases:
            return (Delivery(session, TermsRenewed(number)),)
        self._renewals[session] = max(number, self._renewals.get(session, 0))
        return ()

    def request(self, session: Session, request: LeaseRequest) -> None:
        """Take in a request. Raises ResourceExhaustedError where too many wait already."""
        seat = self._seats.get(session)
        if seat is None:
            return
        if request.returned:
            self._returns.append((session, request.returned))
        if not request.wants:
            return
        if seat.requests >= REQUESTS_PER_SIDECAR_MAX:
            raise ResourceExhaustedError(
                f"{REQUESTS_PER_SIDECAR_MAX} lease requests wait to be answered; wait for answers"
            )
        seat.requests += 1
        self._waiting[self._next] = _Waiting(self._next, session, seat.epoch, request)
        self._ready.add(self._next)
        self._next += 1

    def due_in_ms(self, now_ms: int) -> int:
        """Return after how long there is something to do, where nothing arrives."""
        due_ms = self._tick_ms
        for waiting in self._recalling.values():
            assert waiting.deadline_ms is not None, "it waits until then"
            due_ms = min(due_ms, waiting.deadline_ms)
            break
        return max(due_ms - now_ms, 0)

    def take(self, now_ms: int) -> Batch | None:
        """Return the work that waits; None where none does."""
        batch = Batch(LeaseWork(), [], self._renewals, [])
        work = batch.work
        for session, claim in self._claims:
            batch.claimed.append(session)
            work.claims.append(claim)
        work.renewed = {self._seats[session].epoch for session in self._renewals}
        for session, returned in self._returns:
            seat = self._seats.get(session)
            if seat is not None:
                work.returns.append((seat.epoch, returned))
                self._note_answers(each.lease for each in returned)
        self._claims, self._renewals, self._returns = [], {}, []
        self._take_askings(batch, now_ms)
        if now_ms >= self._tick_ms:
            work.is_tick = True
            work.refused = self._refused.credit_pools()
            self._tick_ms = now_ms + TICK_MS
        return None if work.is_empty else batch

    def posted(
        self, batch: Batch, posted: LeasesPosted, gains: Iterable[Gain], now_ms: int
    ) -> list[Delivery]:
        """Take in what became of a batch; `gains` are those of the usage settled with it."""
        deliveries = [Delivery(session, TermsRenewed(0)) for session in batch.claimed]
        deliveries += [Delivery(s, TermsRenewed(number)) for s, number in batch.renewed.items()]
        if posted.may_have_more:
            self._tick_ms = now_ms
        for epoch in posted.holders:
            seat = self._by_sidecar.get(epoch[0])
            if seat is not None and seat.epoch == epoch:
                seat.has_leases = True
        deliveries += self._answer(batch, posted, now_ms)
        return deliveries + self.gained([*gains, *posted.gains], now_ms)

    def gained(self, gains: Iterable[Gain], now_ms: int) -> list[Delivery]:
        """Have those who wait tried again, and lift as many refusals as the units serve."""
        latest = {gain.pool: gain.available for gain in gains}
        if not latest:
            return []
        for number, waiting in self._recalling.items():
            for want in waiting.request.wants:
                if want.pool in latest:
                    self._ready.add(number)
                    latest[want.pool] -= want.units_min
        lifted: defaultdict[Session, list[PoolKey]] = defaultdict(list)
        for pool, available in latest.items():
            for session in self._refused.lift(pool, available, now_ms):
                lifted[session].append(pool)
        return [Delivery(session, LeaseLift(tuple(pools))) for session, pools in lifted.items()]

    def failed(self, batch: Batch) -> list[Session]:
        """Forget a batch that cannot be done; return the sessions that it was for."""
        for waiting in batch.askings:
            self._forget(waiting)
        sessions = [*batch.claimed, *batch.renewed, *(w.session for w in batch.askings)]
        return list(dict.fromkeys(sessions))

    def _answer(self, batch: Batch, posted: LeasesPosted, now_ms: int) -> list[Delivery]:
        deliveries = []
        recalls: defaultdict[Session, set[int]] = defaultdict(set)
        for waiting, answer in zip(batch.askings, posted.answers, strict=True):
            if waiting.number not in self._waiting:
                # Its stream ended meanwhile: the next hello says that nothing arrived.
                continue
            if isinstance(answer, Granted):
                self._counts.grants += 1
                self._forget(waiting)
                message = LeaseAnswer(waiting.request.number, answer.leases)
                deliveries.append(Delivery(waiting.session, message))
            elif not self._recall(waiting, answer, recalls, now_ms):
                self._forget(waiting)
                deliveries.append(self._refuse(waiting, answer, posted.now_ms, now_ms))
        for session, leases in recalls.items():
            self._counts.recalls += len(leases)
            deliveries.append(Delivery(session, LeaseRecall(tuple(sorted(leases)))))
        return deliveries

    def _take_askings(self, batch: Batch, now_ms: int) -> None:
        for number, waiting in self._recalling.items():
            if waiting.deadline_ms is not None and now_ms < waiting.deadline_ms:
                break
            self._ready.add(number)
        for number in sorted(self._ready)[:ASKINGS_PER_TRANSACTION]:
            waiting = self._waiting[number]
            self._ready.discard(number)
            batch.askings.append(waiting)
            batch.work.askings.append(Asking(waiting.epoch, waiting.request.wants))

    def _note_answers(self, leases: Iterable[int]) -> None:
        """Note that leases were told of: whoever waited for them alone waits no more."""
        for lease in leases:
            for number in self._recalled.pop(lease, ()):
                self._waiting[number].unanswered.discard(lease)
                self._ready.add(number)

    def _recall(
        self,
        waiting: _Waiting,
        short: Short,
        recalls: defaultdict[Session, set[int]],
        now_ms: int,
    ) -> bool:
        """Ask for units back that a request lacks; False where that is over, or of no use."""
        if waiting.deadline_ms is not None:
            return bool(waiting.unanswered) and now_ms < waiting.deadline_ms
        if not all(shortage.is_leased for shortage in short.shortages):
            return False
        for shortage in short.shortages:
            for held in shortage.held:
                seat = self._by_sidecar.get(held.epoch[0])
                if seat is None or seat.epoch != held.epoch or held.epoch == waiting.epoch:
                    continue
                if not self._recalled[held.lease]:
                    recalls[seat.session].add(held.lease)
                self._recalled[held.lease].add(waiting.number)
                waiting.unanswered.add(held.lease)
        waiting.deadline_ms = now_ms + self._recall_ms
        self._recalling[waiting.number] = waiting
        return bool(waiting.unanswered)

    def _refuse(self, waiting: _Waiting, short: Short, wall_ms: int, now_ms: int) -> Delivery:
        self._counts.refusals += 1
        refusals = []
        least = {want.pool: want.units_min for want in waiting.request.wants}
        for shortage in short.shortages:
            lapses_in_ms = _lapses_in_ms(shortage, wall_ms)
            refusals.append(
                Refusal(
                    shortage.pool,
                    shortage.available,
                    self._unreachable(waiting, shortage),
                    lapses_in_ms,
                    shortage.limit,
                    None if shortage.returns_ms is None else max(shortage.returns_ms - wall_ms, 1),
                )
            )
            if shortage.is_leased:
                units = (least[shortage.pool], shortage.available)
                self._refused.add(shortage.pool, waiting.session, units, now_ms + lapses_in_ms)
        answer = LeaseAnswer(waiting.request.number, (), tuple(refusals))
        return Delivery(waiting.session, answer)

    def _unreachable(self, waiting: _Waiting, shortage: Shortage) -> int:
        """Sum what sidecars hold that are not connected, or that did not answer."""
        units = 0
        for held in shortage.held:
            seat = self._by_sidecar.get(held.epoch[0])
            is_there = seat is not None and seat.epoch == held.epoch
            if not is_there or held.lease in waiting.unanswered:
                units += held.units
        return units

    def _forget(self, waiting: _Waiting) -> None:
        if self._waiting.pop(waiting.number, None) is None:
            return
        self._ready.discard(waiting.number)
        self._recalling.pop(waiting.number, None)
        for lease in waiting.unanswered:
            self._recalled[lease].discard(waiting.number)
            if not self._recalled[lease]:
                del self._recalled[lease]
        seat = self._seats.get(waiting.session)
        if seat is not None:
            seat.requests -= 1


def _lapses_in_ms(shortage: Shortage, wall_ms: int) -> int:
    if not shortage.is_leased:
        return NOT_LEASED_MS
    # When it may have more, whatever anybody gives back.
    changes_ms = shortage.leaves_ms if shortage.leaves_ms is not None else shortage.window_end_ms
    if changes_ms is None:
        return REFUSED_MS_MAX
    return max(min(REFUSED_MS_MAX, changes_ms - wall_ms), 1)
