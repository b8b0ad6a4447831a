"""Reservations, usage, expiry, restarts and failed writes against a naive model of one limit."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidecar.core.moment import Moment
from sidecar.core.reservations import SETTLEABLE_MS
from sidecar.core.usage import Position
from sidecar.journal import START
from sidecar.replaying import replay_journal
from sidecar.transport.seam import Call, Method, Pending, Status
from sidecar.wire.record import decode_record
from tests.sidecar.gate_world import MOMENT, catalog
from tests.sidecar.lease_world import LeaseWorld
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import sync_service_pb2 as pb

LIMIT = 10
TERM_MS = 10_000_000
AMOUNTS = st.integers(0, 6)
TTL_MS = 60_000


@dataclass
class ModelHold:
    """A hold as the model has it; of `used`, `charged` units were charged at the deadline."""

    amount: int
    expires_at_ms: int
    has_expired: bool = False
    used: int = 0
    charged: int = 0


class ReservationMachine(RuleBasedStateMachine):
    """One sidecar and one leased limit; the control plane gives what the model has left."""

    feature = "denying"
    is_leased = True

    def __init__(self) -> None:
        super().__init__()
        # Syncs to a busy disk would take most of the time, and prove nothing here.
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="wb-machine-", dir=memory))
        self.now_ms = MOMENT.now_ms
        self.holds: dict[str, ModelHold] = {}
        self.names = 0
        # Charged in all; and the part of it that limits admitted, which leases gave.
        self.charged = 0
        self.admitted = 0
        self.lease_ids = 0
        self.leases: dict[str, int] = {}
        self.granted: Counter[int] = Counter()
        self.settled: dict[str, int] = {}

    @initialize()
    def start(self) -> None:
        self.world = self._open()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()
        shutil.rmtree(self.folder)

    # What an application does.

    @rule(amount=AMOUNTS)
    def consume(self, amount: int) -> None:
        response = self._ask(
            Method.CONSUME,
            sidecar_pb.ConsumeRequest(customer="acme", feature=self.feature, amount=amount),
            sidecar_pb.ConsumeResponse,
        )
        assert response.decision.allowed == self._fits(amount)
        if response.decision.allowed:
            self.charged += amount
            self.admitted += amount

    @rule(amount=AMOUNTS, ttl_ms=st.sampled_from((TTL_MS, 10 * TTL_MS)))
    def reserve(self, amount: int, ttl_ms: int) -> None:
        self.names += 1
        name = f"r{self.names}"
        response = self._reserve(name, amount, ttl_ms)
        assert response.decision.allowed == self._fits(amount)
        if response.decision.allowed:
            self.holds[name] = ModelHold(amount, self.now_ms + ttl_ms)
            assert self._reserve(name, amount, ttl_ms).replayed

    @precondition(lambda self: self._open_holds())
    @rule(data=st.data(), more=AMOUNTS)
    def extend(self, data: st.DataObject, more: int) -> None:
        name = data.draw(st.sampled_from(sorted(self._open_holds())))
        hold = self.holds[name]
        request = sidecar_pb.ExtendRequest(
            customer="acme", reservation=name, amount=hold.amount + more, ttl_ms=TTL_MS
        )
        response = self._ask(Method.EXTEND, request, sidecar_pb.ExtendResponse)
        assert response.decision.allowed == self._fits(more)
        if response.decision.allowed:
            hold.amount += more
            hold.expires_at_ms = self.now_ms + TTL_MS

    @precondition(lambda self: self._open_holds())
    @rule(data=st.data(), used=AMOUNTS)
    def tell(self, data: st.DataObject, used: int) -> None:
        name = data.draw(st.sampled_from(sorted(self._open_holds())))
        hold = self.holds[name]
        hold.used = max(hold.used, min(used, hold.amount))
        self.world.gate.reservations.tell("acme", name, hold.used)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), amount=st.integers(0, 9))
    def settle(self, data: st.DataObject, amount: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.holds)))
        hold = self.holds.pop(name)
        held = 0 if hold.has_expired else hold.amount
        here = sum(pool.remaining for pool in self.world.gate.leases.held())
        # What leases here cover of the rest is drawn from them.
        more = max(min(here, LIMIT - self.charged - self._held() - held), 0)
        response = self._settle(name, amount)
        left = max(amount - hold.charged, 0)
        assert (response.receipt.amount, response.charged_before_amount) == (left, hold.charged)
        assert response.excess_amount == max(left - held, 0)
        assert response.had_expired == hold.has_expired
        self.charged += left
        self.admitted += min(left, held + more)
        self.settled[name] = amount
        assert self._settle(name, amount).replayed

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.holds)))
        hold = self.holds.pop(name)
        request = sidecar_pb.ReleaseRequest(customer="acme", reservation=name)
        response = self._ask(Method.RELEASE, request, sidecar_pb.ReleaseResponse)
        assert response.released_amount == (0 if hold.has_expired else hold.amount)
        assert self._ask(Method.RELEASE, request, sidecar_pb.ReleaseResponse).replayed

    @rule(amount=st.integers(0, 9), name=st.sampled_from(("r0", "never")))
    def settle_what_is_not_held(self, amount: int, name: str) -> None:
        request = sidecar_pb.SettleRequest(customer="acme", reservation=name, amount=amount)
        (answer,) = self.world.seam.answer([Call(Method.SETTLE, request.SerializeToString())])
        assert isinstance(answer, Status)
        assert answer.code is grpc.StatusCode.NOT_FOUND

    # What happens to it.

    @rule(milliseconds=st.sampled_from((1, TTL_MS // 2, TTL_MS, 5 * TTL_MS)))
    def wait(self, milliseconds: int) -> None:
        self.now_ms += milliseconds
        self._pass_time()

    @precondition(lambda self: any(hold.has_expired for hold in self.holds.values()))
    @rule()
    def wait_until_nobody_settles(self) -> None:
        self.now_ms += SETTLEABLE_MS
        self._pass_time()

    @rule()
    def restart(self) -> None:
        for name in self._open_holds():
            # What was told since the last record is forgotten.
            self.holds[name].used = self._recorded(name)
        self.world.close()
        self.world = self._open()
        self.world.seam.keep_holds()

    @rule(amount=AMOUNTS, data=st.data())
    def fail_to_write(self, amount: int, data: st.DataObject) -> None:
        names = sorted(self.holds) or ["none"]
        name = data.draw(st.sampled_from(names))
        requests = [
            Call(Method.CONSUME, self._consumed(amount)),
            Call(
                Method.SETTLE,
                sidecar_pb.SettleRequest(
                    customer="acme", reservation=name, amount=amount
                ).SerializeToString(),
            ),
        ]
        if name in self._open_holds():
            grown = self.holds[name].amount + amount
            extend = sidecar_pb.ExtendRequest(customer="acme", reservation=name, amount=grown)
            requests.insert(0, Call(Method.EXTEND, extend.SerializeToString()))
        before = (self._state(), self._posted())
        with self._full_journal():
            for answer in self.world.seam.answer(requests):
                if isinstance(answer, bytes):
                    # A refusal needs no record.
                    assert not sidecar_pb.ConsumeResponse.FromString(answer).decision.allowed
                elif isinstance(answer, Pending):
                    self.world.waiting.cancel(answer)
        assert (self._state(), self._posted()) == before

    # What must hold.

    @invariant()
    def holds_are_those_of_the_model(self) -> None:
        if hasattr(self, "world"):
            found = {
                hold.reservation: (hold.amount, hold.has_expired, hold.used, hold.charged)
                for hold in self.world.gate.reservations
            }
            assert found == {
                n: (h.amount, h.has_expired, h.used, h.charged) for n, h in self.holds.items()
            }
            assert self.world.gate.reservations.held_units == self._held()

    @invariant()
    def what_counts_is_usage_and_holds(self) -> None:
        if hasattr(self, "world"):
            decision = self.world.check(0, self.feature).decision
            assert decision.used == self.charged + self._held()
            assert decision.reserved == self._held()

    @invariant()
    def no_unit_is_made_or_lost(self) -> None:
        if not hasattr(self, "world"):
            return
        drawn, to_pool = self._posted()
        assert sum(drawn.values()) - to_pool == (
            self.admitted + self._held() if self.is_leased else 0
        )
        for pool in self.world.gate.leases.held():
            assert pool.drawn == drawn[pool.lease_id]
            assert pool.remaining == pool.granted - pool.returned - pool.drawn >= 0
            assert self.granted[pool.lease_id] == pool.granted

    def _fits(self, amount: int) -> bool:
        return amount == 0 or self.charged + self._held() + amount <= LIMIT

    def _held(self) -> int:
        return sum(hold.amount for hold in self.holds.values() if not hold.has_expired)

    def _open_holds(self) -> list[str]:
        return [name for name, hold in self.holds.items() if not hold.has_expired]

    def _posted(self) -> tuple[Counter[int], int]:
        """Return what records drew by lease, and what of it went back to the pool, not a lease."""
        drawn: Counter[int] = Counter()
        to_pool = 0
        for record in self._records():
            for draw in record.draws:
                drawn[draw.lease] += draw.units
            put_back = -sum(draw.units for draw in record.draws if draw.units < 0)
            settled = sum(e.amount for e in record.entries if e.kind == pb.USAGE_KIND_SETTLE)
            for closed in record.holds_closed:
                has_expired = closed.end == pb.HOLD_END_EXPIRED
                used = closed.charged_amount if has_expired else settled
                held = sum(each.units for each in closed.held)
                to_pool += held - min(used, held)
            to_pool -= put_back
        return drawn, to_pool

    def _recorded(self, name: str) -> int:
        """Return what the last record that opened a hold says of its use."""
        opened = (hold for record in self._records() for hold in record.holds_opened)
        return [hold.used_amount for hold in opened if hold.reservation == name][-1]

    def _records(self) -> Iterator[pb.UsageRecord]:
        after = START
        while stored := self.world.journal.read_unsettled(after, 1_000, 1 << 20):
            for each in stored:
                yield decode_record(each.payload).record
            after = Position(stored[-1].epoch_index, stored[-1].number)

    def _state(self) -> tuple[object, ...]:
        gate = self.world.gate
        pools = {pool.lease_id: (pool.drawn, pool.remaining) for pool in gate.leases.held()}
        holds = sorted(gate.reservations, key=lambda hold: hold.reservation)
        return pools, [(h.reservation, h.amount, h.has_expired) for h in holds]

    def _open(self) -> LeaseWorld:
        world = LeaseWorld(self.folder)
        if not self.is_leased:
            world.gate.cache.apply_catalog(catalog(3))
        replay_journal(world.journal, world.gate, 0, 0)
        # Each epoch has leases of its own.
        self.leases.clear()
        world.moment = self._moment()
        self._be_heard(world)
        return world

    def _moment(self) -> Moment:
        return Moment(self.now_ms, MOMENT.boot_ms + self.now_ms - MOMENT.now_ms)

    def _be_heard(self, world: LeaseWorld) -> None:
        world.gate.link.heard(world.moment.boot_ms)
        world.gate.leases.begin_term(world.moment.boot_ms + TERM_MS, world.moment.boot_ms)

    def _pass_time(self) -> None:
        world = self.world
        world.moment = self._moment()
        self._be_heard(world)
        world.gate.leases.tidy(world.moment.now_ms, world.moment.boot_ms)
        world.seam.keep_holds()
        for name, hold in tuple(self.holds.items()):
            if hold.has_expired and self.now_ms - hold.expires_at_ms >= SETTLEABLE_MS:
                del self.holds[name]
            elif hold.expires_at_ms <= self.now_ms and not hold.has_expired:
                hold.has_expired = True
                hold.charged = hold.used
                self.charged += hold.used
                self.admitted += hold.used
        # What expires so late is forgotten the next time that holds are looked after.
        world.seam.keep_holds()
        for name, hold in tuple(self.holds.items()):
            if hold.has_expired and self.now_ms - hold.expires_at_ms >= SETTLEABLE_MS:
                del self.holds[name]

    @contextmanager
    def _full_journal(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.world.journal, "_bytes_max", 0)
            yield

    def _consumed(self, amount: int) -> bytes:
        return sidecar_pb.ConsumeRequest(
            customer="acme", feature=self.feature, amount=amount
        ).SerializeToString()

    def _reserve(self, name: str, amount: int, ttl_ms: int) -> sidecar_pb.ReserveResponse:
        request = sidecar_pb.ReserveRequest(
            customer="acme", feature=self.feature, amount=amount, reservation=name, ttl_ms=ttl_ms
        )
        return self._ask(Method.RESERVE, request, sidecar_pb.ReserveResponse)

    def _settle(self, name: str, amount: int) -> sidecar_pb.SettleResponse:
        request = sidecar_pb.SettleRequest(customer="acme", reservation=name, amount=amount)
        return self._ask(Method.SETTLE, request, sidecar_pb.SettleResponse)

    def _ask(self, method, request, response):  # noqa: ANN001, ANN202 (a message of that type)
        self._control_plane()
        (answer,) = self.world.seam.answer([Call(method, request.SerializeToString())])
        if isinstance(answer, Pending):
            self._control_plane()
            answer = answer.answer
        assert isinstance(answer, bytes), answer
        return response.FromString(answer)

    def _control_plane(self) -> None:
        """Answer what the sidecar asks: it gets what nobody has, all of a request or nothing."""
        pools = [pool for pool in self.world.gate.leases.pools() if pool.refusal is not None]
        self.world.asking.lifted([pool.key for pool in pools])
        for request in self.world.requests():
            ended = {held.lease for held in request.returned if held.ended}
            self.leases = {p: lease for p, lease in self.leases.items() if lease not in ended}
            for want in request.wants:
                remaining = sum(pool.remaining for pool in self.world.gate.leases.held())
                available = max(LIMIT - self.charged - self._held() - remaining, 0)
                units = min(max(want.units_min, want.units), available)
                if units < want.units_min:
                    self.world.refuse(request, available=available, limit=LIMIT)
                else:
                    self._grant(request, want.pool, units)

    def _grant(self, request: pb.LeaseRequest, pool: pb.LeasePool, units: int) -> None:
        name = pool.SerializeToString().hex()
        if name not in self.leases:
            self.lease_ids += 1
            self.leases[name] = self.lease_ids
        lease = self.leases[name]
        self.granted[lease] += units
        message = pb.Lease(id=lease, pool=pool, granted=self.granted[lease], limit=LIMIT)
        self.world.receive(lease_answer=pb.LeaseAnswer(number=request.number, leases=[message]))


class CachedReservationMachine(ReservationMachine):
    """The same on a cached feature: nothing is leased, and the same is admitted."""

    feature = "allowing"
    is_leased = False


_SETTINGS = settings(max_examples=25, stateful_step_count=25)
TestReservations = ReservationMachine.TestCase
TestReservations.settings = _SETTINGS
TestCachedReservations = CachedReservationMachine.TestCase
TestCachedReservations.settings = _SETTINGS
