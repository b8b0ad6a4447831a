"""A rolling limit on three sidecars: no span of one length ever has more than the limit."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from leased import TERMS, Leased, Sidecar, entry

from control_plane.granting.work import Granted, Want
from control_plane.leasing.holding import Returned
from control_plane.leasing.holds import HoldKey, HoldStep
from control_plane.leasing.settling import Draw
from control_plane.metering.records import UsageKind
from control_plane.storage.database import Database
from control_plane.storage.lease_tables import lease_bucket
from weighbridge.rules.lease import PoolKey

HOUR_MS = 3_600_000
BUCKET_MS = HOUR_MS // 60
LIMIT = 50
EXAMPLES = {"sqlite": 60, "postgresql": 6}
SIDECARS = st.integers(0, 2)
UNITS = st.integers(1, 30)
SPANS_MS = st.sampled_from([1_000, 20_000, TERMS.ttl_ms, 600_000, HOUR_MS // 2, HOUR_MS])
CUSTOMERS = count(1)


def turns_of(customer: str) -> PoolKey:
    return PoolKey(customer, "", "turns", "rolling", 0)


class RollingMachine(RuleBasedStateMachine):
    """Records are late, doubled or lost with their disk; sidecars stay away for hours."""

    leased: Leased

    def __init__(self) -> None:
        super().__init__()
        self.customer = f"rolling-{next(CUSTOMERS)}"
        self.leased.create(self.customer)
        self.sidecars = [Sidecar(f"{self.customer}.{n}", self.customer) for n in range(3)]
        self.until_ms = {sidecar.name: 0 for sidecar in self.sidecars}
        # What was admitted, and when.
        self.admitted: list[tuple[int, int]] = []
        self.held: dict[tuple[str, str], tuple[int, int]] = {}
        self.reservations = count(1)

    def admit(self, units: int) -> None:
        now_ms = self.leased.now_ms
        self.admitted.append((now_ms, units))
        within = sum(n for at_ms, n in self.admitted if at_ms > now_ms - HOUR_MS)
        assert within <= LIMIT, f"{within} units in an hour"

    def spendable(self, sidecar: Sidecar) -> tuple[int, int]:
        """Return a lease with units, and how many; (0, 0) where the sidecar may spend none."""
        if self.leased.now_ms < self.until_ms[sidecar.name]:
            for id_, held in sidecar.held.items():
                if held.rest:
                    return id_, held.rest
        return 0, 0

    @rule(which=SIDECARS, least=st.integers(0, 30), more=UNITS)
    def ask(self, which: int, least: int, more: int) -> None:
        sidecar = self.sidecars[which]
        self.reconnect(which)
        wanted = Want(turns_of(self.customer), least, least + more, LIMIT)
        answer = self.leased.ask(sidecar, wanted)
        if isinstance(answer, Granted):
            sidecar.learn(answer.leases)
            return
        (shortage,) = answer.shortages
        assert shortage.available < least
        if shortage.returns_ms is not None:
            assert shortage.leaves_ms is not None
            assert self.leased.now_ms < shortage.leaves_ms <= shortage.returns_ms

    @rule(which=SIDECARS, units=UNITS)
    def spend(self, which: int, units: int) -> None:
        sidecar = self.sidecars[which]
        id_, rest = self.spendable(sidecar)
        spent = min(units, rest)
        if spent:
            sidecar.held[id_].drawn += spent
            made = entry(self.customer, spent, self.leased.now_ms, "turns")
            sidecar.record(made, draws=[Draw(id_, spent)])
            self.admit(spent)

    @rule(which=SIDECARS, units=UNITS)
    def reserve(self, which: int, units: int) -> None:
        sidecar = self.sidecars[which]
        id_, rest = self.spendable(sidecar)
        held = min(units, rest)
        if not held:
            return
        reservation = f"r{next(self.reservations)}"
        sidecar.held[id_].drawn += held
        self.step(sidecar, reservation, [Draw(id_, held)], {id_: held})
        self.admit(held)
        self.held[sidecar.name, reservation] = (id_, held)

    @rule(which=SIDECARS, used=UNITS)
    def settle(self, which: int, used: int) -> None:
        """Settle the oldest hold, of what was used some at its Reserve, long ago perhaps."""
        sidecar = self.sidecars[which]
        for (name, reservation), (_, held) in list(self.held.items()):
            if name == sidecar.name:
                del self.held[name, reservation]
                self.step(sidecar, reservation, [], {}, used=min(used, held))
                return

    def step(
        self,
        sidecar: Sidecar,
        reservation: str,
        draws: list[Draw],
        units: dict[int, int],
        used: int = 0,
    ) -> None:
        at_ms = self.leased.now_ms
        entries = [entry(self.customer, used, at_ms, "turns", kind=UsageKind.SETTLE)] * bool(used)
        made = sidecar.record(*entries, draws=draws)
        key = HoldKey(sidecar.name, self.customer, reservation)
        hold = HoldStep(key, tuple(units.items()), at_ms + 60_000 if units else 0)
        sidecar.unsent[-1] = made._replace(holds=(hold,))

    @rule(which=SIDECARS, units=UNITS)
    def report(self, which: int, units: int) -> None:
        made = entry(self.customer, units, self.leased.now_ms - BUCKET_MS, "turns")
        self.sidecars[which].record(made)

    @rule(which=SIDECARS, records=st.integers(1, 4))
    def send(self, which: int, records: int) -> None:
        sidecar = self.sidecars[which]
        fresh, sidecar.unsent = sidecar.unsent[:records], sidecar.unsent[records:]
        settlement = self.leased.settle(*fresh)
        assert (settlement.records, settlement.draws_refused) == (len(fresh), 0)

    @rule(which=SIDECARS)
    def give_back(self, which: int) -> None:
        sidecar = self.sidecars[which]
        returned: tuple[Returned, ...] = ()
        for id_ in list(sidecar.held):
            returned += sidecar.end(id_)
        self.leased.post(returns=[(sidecar.id, returned)])

    @rule(which=SIDECARS)
    def reconnect(self, which: int) -> None:
        sidecar = self.sidecars[which]
        now_ms = self.leased.now_ms
        self.leased.post(claims=[sidecar.claim()])
        ended: tuple[Returned, ...] = ()
        if now_ms >= self.until_ms[sidecar.name]:
            # Its term ran out: nothing that it held is spent any more.
            for id_ in list(sidecar.held):
                ended += sidecar.end(id_)
        self.until_ms[sidecar.name] = now_ms + TERMS.ttl_ms
        self.leased.post(returns=[(sidecar.id, ended)])

    @rule(which=SIDECARS, is_heard=st.booleans())
    def restart(self, which: int, *, is_heard: bool) -> None:
        sidecar = self.sidecars[which]
        sidecar.restart()
        self.until_ms[sidecar.name] = 0
        if is_heard:
            self.reconnect(which)

    @rule(which=SIDECARS, lost=st.integers(0, 3))
    def lose_power(self, which: int, lost: int) -> None:
        sidecar = self.sidecars[which]
        kept = len(sidecar.unsent) - min(lost, len(sidecar.unsent))
        for gone in reversed(sidecar.unsent[kept:]):
            sidecar.written[gone.sidecar_id, gone.epoch] = gone.number - 1
            for hold in gone.holds:
                self.held.pop((sidecar.name, hold.key.reservation), None)
        sidecar.unsent = sidecar.unsent[:kept]
        sidecar.restart()
        self.leased.post(claims=[sidecar.claim(may_have_lost=True)])
        self.until_ms[sidecar.name] = self.leased.now_ms + TERMS.ttl_ms

    @rule(span_ms=SPANS_MS, ticks=st.booleans())
    def wait(self, span_ms: int, *, ticks: bool) -> None:
        self.leased.now_ms += span_ms
        if ticks:
            self.leased.tick()

    @invariant()
    def is_conserved(self) -> None:
        sums = self.leased.check()
        assert not sums.differences, [str(each) for each in sums.differences]

    def teardown(self) -> None:
        """Have everything settled and nobody heard for hours: every unit comes back by itself."""
        for sidecar in self.sidecars:
            self.leased.settle(*sidecar.unsent)
        for _ in range(3):
            self.leased.now_ms += TERMS.ttl_ms + TERMS.lost_after_ms + HOUR_MS + 2 * BUCKET_MS
            while self.leased.tick().may_have_more:
                pass
        fresh = Sidecar(f"{self.customer}.last", self.customer)
        answer = self.leased.ask(fresh, Want(turns_of(self.customer), LIMIT, LIMIT, LIMIT))
        assert isinstance(answer, Granted), self.leased.pool(turns_of(self.customer))


@pytest.fixture
def machine_world(engine: str, request: pytest.FixtureRequest) -> Iterator[Leased]:
    """Make one environment for all examples; each has a customer of its own."""
    url = "sqlite://" if engine == "sqlite" else request.getfixturevalue("database_url")
    database = Database(url)
    database.migrate()
    yield Leased(database)
    database.close()


def test_no_span_has_more_than_the_limit(machine_world: Leased, engine: str) -> None:
    machine = type("Machine", (RollingMachine,), {"leased": machine_world})
    run_state_machine_as_test(
        machine,
        settings=settings(settings.default, max_examples=EXAMPLES[engine], stateful_step_count=40),
    )
    assert machine_world.rows(lease_bucket) is not None
