"""What may happen in a step: calls of applications, changes of limits, and faults."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from sidecar.transport.seam import Method
from tests.simulation.sidecar_node import SidecarNode
from tests.simulation.simulated_world import World
from tests.simulation.tally import FLEET, LIMITS, PARENTS, RecordOf, Usage
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb

KEYS: Final = 6
CUSTOMERS: Final = tuple(PARENTS)
# Half of all calls are for one pool, so that sidecars take units from each other.
_FEATURES: Final = ("calls", "calls", "calls", "jobs")


class Steps:
    """Draws what happens next, from the world's seed alone."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random: Random = Random(world.random.getrandbits(64))
        # A few seeds are calm, most have some faults, and some have little else.
        self._fault_share = self.random.choice((0.0, 0.03, 0.08, 0.2))
        self._change_share = self.random.choice((0.02, 0.12))
        self._reservations = 0
        world.upper.database.strike = self._strike
        self._calls: list[tuple[Callable[[SidecarNode], None], int]] = [
            (self._consume, 50),
            (self._reserve, 8),
            (self._settle, 8),
            (self._release, 3),
            (self._extend, 3),
            (self._report, 2),
            (self._check, 3),
        ]
        self._faults: list[tuple[Callable[[SidecarNode], None], int]] = [
            (self._break, 20),
            (self._cut_off, 10),
            (self._kill, 12),
            (self._restart, 6),
            (self._lose_power, 8),
            (self._lose_disk, 3),
            (self._pause, 10),
            (self._kill_control_plane, 8),
            (self._step_clock, 5),
            (self._slow_network, 4),
            (self._wall_clock, 3),
        ]

    def run(self, steps: int, *, on_step: Callable[[], None] = lambda: None) -> None:
        """Have so many things happen, and check the world after each."""
        for _ in range(steps):
            self.step()
            self.world.check()
            on_step()

    def step(self) -> None:
        random, world = self.random, self.world
        world.run_for(self._span_ms())
        node = random.choice(world.nodes)
        share = random.random()
        if share < self._fault_share:
            self._draw(self._faults)(node)
        elif share < self._fault_share + self._change_share:
            self._change_limits()
        elif node.is_up:
            for _ in range(random.choice((1, 1, 2, 5))):
                self._draw(self._calls)(node)

    def _span_ms(self) -> int:
        share = self.random.random()
        if share < 0.9:
            return self.random.randint(0, 120)
        if share < 0.985:
            return self.random.randint(0, 3_000)
        return self.random.randint(0, 15_000)

    def _draw(
        self, choices: list[tuple[Callable[[SidecarNode], None], int]]
    ) -> Callable[[SidecarNode], None]:
        return self.random.choices([c for c, _ in choices], [weight for _, weight in choices])[0]

    def _strike(self, where: str) -> bool:
        """Say whether a transaction of the control plane fails there."""
        shares = {"begin": 0.01, "conflict": 0.3, "commit": 0.03, "answer": 0.03}
        return self.random.random() < shares[where] * self._fault_share

    # Calls

    def _subject(self) -> tuple[str, str]:
        return self.random.choice(CUSTOMERS), self.random.choice(_FEATURES)

    def _amount(self) -> int:
        return self.random.choice((1, 1, 1, 2, 3, 5, 9))

    def _consume(self, node: SidecarNode) -> None:
        customer, feature = self._subject()
        request = sidecar_pb.ConsumeRequest(
            customer=customer, feature=feature, amount=self._amount()
        )
        share = self.random.random()
        if share < 0.2:
            # The payload belongs to the key.
            number = self.random.randrange(KEYS)
            request.amount = 1 + number % 3
            request.customer, request.feature = (
                ("solo", "calls") if number % 2 else ("acme", "calls")
            )
            request.idempotency_key = f"key-{number}"
            if share < 0.1:
                request.idempotency_key = f"fleet-{number}"
                request.idempotency_scope = FLEET
        node.call(Method.CONSUME, request)

    def _check(self, node: SidecarNode) -> None:
        customer, feature = self._subject()
        request = sidecar_pb.CheckRequest(customer=customer, feature=feature, amount=1)
        node.call(Method.CHECK, request)

    def _report(self, node: SidecarNode) -> None:
        customer, feature = self._subject()
        request = sidecar_pb.ReportRequest(customer=customer, feature=feature, amount=1)
        node.call(Method.REPORT, request)

    def _reserve(self, node: SidecarNode) -> None:
        customer, feature = self._subject()
        self._reservations += 1
        request = sidecar_pb.ReserveRequest(
            customer=customer,
            feature=feature,
            amount=self._amount(),
            reservation=f"{feature}-{self._reservations}",
            ttl_ms=self.random.choice((1_000, 1_000, 5_000, 60_000, 600_000)),
        )
        node.call(Method.RESERVE, request)

    def _hold_of(self, node: SidecarNode) -> tuple[str, str, int] | None:
        held = [
            (customer, reservation, hold.amount)
            for (disk, customer, reservation), hold in self.world.tally.holds.items()
            if disk == str(node.disk)
        ]
        return self.random.choice(held) if held else None

    def _settle(self, node: SidecarNode) -> None:
        held = self._hold_of(node)
        if held is None:
            return
        customer, reservation, amount = held
        used = self.random.choice((0, amount // 2, amount, amount, amount + 2))
        request = sidecar_pb.SettleRequest(customer=customer, reservation=reservation, amount=used)
        node.call(Method.SETTLE, request)

    def _release(self, node: SidecarNode) -> None:
        held = self._hold_of(node)
        if held is not None:
            request = sidecar_pb.ReleaseRequest(customer=held[0], reservation=held[1])
            node.call(Method.RELEASE, request)

    def _extend(self, node: SidecarNode) -> None:
        held = self._hold_of(node)
        if held is not None:
            customer, reservation, amount = held
            more = amount + self.random.randint(0, 4)
            request = sidecar_pb.ExtendRequest(
                customer=customer, reservation=reservation, amount=more, ttl_ms=30_000
            )
            node.call(Method.EXTEND, request)

    # What is provisioned

    def _change_limits(self) -> None:
        world, random = self.world, self.random
        customer = random.choice(CUSTOMERS)
        feature = random.choice(tuple(LIMITS))
        units = random.choice((0, 10, 30, 60, 90, 200))
        share = random.random()
        world.note(f"limits of {customer} {feature} {units} {share:.3f}")
        if share < 0.2:
            name = random.choice(tuple(world.limits))
            world.administer(lambda: world.apply_catalog(**{name: units}))
        elif share < 0.4 and world.has_override(customer, feature):
            world.administer(lambda: world.remove_limit(customer, feature))
        else:
            ids = dict.fromkeys(LIMITS[feature], units)
            world.administer(lambda: world.set_limit(customer, feature, ids))

    # Faults

    def _say(self, node: SidecarNode, what: str) -> None:
        self.world.note(f"{node.name} {what}")

    def _break(self, node: SidecarNode) -> None:
        self._say(node, "stream breaks")
        node.break_stream()

    def _cut_off(self, node: SidecarNode) -> None:
        self._say(node, "cut off")
        node.is_cut_off = True
        if node.stream is not None:
            node.stream.cut()

        def reach() -> None:
            node.is_cut_off = False

        self.world.schedule(self.random.choice((1_000, 7_000, 20_000, 60_000)), reach)

    def _start_later(self, node: SidecarNode) -> None:
        self.world.schedule(self.random.choice((10, 1_000, 12_000, 60_000)), node.start)

    def _kill(self, node: SidecarNode) -> None:
        self._say(node, "killed")
        node.kill()
        self._start_later(node)

    def _restart(self, node: SidecarNode) -> None:
        if not node.is_paused:
            self._say(node, "stops cleanly")
            node.stop()
            self._start_later(node)

    def _lose_power(self, node: SidecarNode) -> None:
        if not node.is_up:
            return
        self._say(node, "loses power")
        written = self._written(node)
        node.lose_power()
        self.world.tally.forget_keys(node)
        self.world.has_lost_machines = True
        # What is lost and was not settled before is settled never.
        self.world.lost.update(written)
        self._start_later(node)

    def _lose_disk(self, node: SidecarNode) -> None:
        self._say(node, "loses its disk")
        self.world.lost_disks.update(self._written(node))
        self.world.has_lost_machines = True
        self.world.tally.forget_holds(node)
        node.lose_disk()
        self._start_later(node)

    def _written(self, node: SidecarNode) -> dict[RecordOf, list[Usage]]:
        """Return all that was acknowledged by the disk of a node."""
        acknowledged = self.world.tally.acknowledged
        return {
            record: usages
            for record, usages in acknowledged.items()
            if (record.sidecar_id, record.epoch) in node.epochs
        }

    def _pause(self, node: SidecarNode) -> None:
        if not node.is_up or node.is_paused:
            return
        self._say(node, "pauses")
        node.pause()
        for _ in range(self.random.randint(0, 3)):
            customer, feature = self._subject()
            node.call_late(
                Method.CONSUME,
                sidecar_pb.ConsumeRequest(customer=customer, feature=feature, amount=2),
            )
        self.world.schedule(self.random.choice((500, 4_000, 12_000, 50_000)), node.resume)

    def _kill_control_plane(self, _node: SidecarNode) -> None:
        self.world.note("the control plane is killed")
        self.world.upper.stop()
        self.world.schedule(self.random.choice((10, 1_000, 15_000)), self.world.upper.start)

    def _step_clock(self, _node: SidecarNode) -> None:
        step_ms = self.random.choice((-3_600_000, -20_000, -1_000, 1_000, 20_000, 3_600_000))
        self.world.note(f"the control plane's clock steps by {step_ms}")
        self.world.upper.step_ms += step_ms
        if abs(step_ms) > 60_000:
            self.world.tally.forget_keys()

    def _wall_clock(self, node: SidecarNode) -> None:
        node.machine.wall_skew_ms = self.random.randint(-4_000_000, 4_000_000)

    def _slow_network(self, _node: SidecarNode) -> None:
        self.world.network.delay_ms_max = self.random.choice((5, 40, 400, 2_000))
