"""Calls of applications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sidecar.transport.seam import Method
from tests.simulation import rolling
from tests.simulation.parts import Part, Step, StepKind
from tests.simulation.sidecar_node import SidecarNode
from tests.simulation.tally import FLEET, PARENTS
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb

KEYS: Final = 6
CUSTOMERS: Final = tuple(PARENTS)
# Most calls are for one pool, so that sidecars take units from each other.
FEATURES: Final = ("calls", "calls", "calls", "jobs", rolling.FEATURE)


class Calling(Part):
    """Applications that check, consume, report and reserve."""

    _reservations = 0

    def steps(self) -> Sequence[Step]:
        weights = (
            (self._consume, 50),
            (self._reserve, 8),
            (self._settle, 8),
            (self._release, 3),
            (self._extend, 3),
            (self._tell, 8),
            (self._report, 2),
            (self._check, 3),
        )
        return [Step(StepKind.CALL, weight, work) for work, weight in weights]

    def _subject(self) -> tuple[str, str]:
        return self.random.choice(CUSTOMERS), self.random.choice(FEATURES)

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
            if share < 0.05:
                # No limit refuses it, so that its answer is looked for again and again.
                request.idempotency_key, request.amount = f"free-{number}", 0
            elif share < 0.1:
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

    def _tell(self, node: SidecarNode) -> None:
        """Do to a hold what a Meter does with what it is told."""
        held = self._hold_of(node)
        if held is not None and held[2]:
            customer, reservation, amount = held
            used = self.random.randint(1, amount + 1)
            node.parts.gate.reservations.tell(customer, reservation, used)
            self.world.tally.told(node, customer, reservation, used)

    def _extend(self, node: SidecarNode) -> None:
        held = self._hold_of(node)
        if held is not None:
            customer, reservation, amount = held
            more = amount + self.random.randint(0, 4)
            request = sidecar_pb.ExtendRequest(
                customer=customer, reservation=reservation, amount=more, ttl_ms=30_000
            )
            node.call(Method.EXTEND, request)
