"""Seats that are handed around, and slots that are asked for one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Final

from sidecar.transport.seam import Call, Method, Status
from tests.simulation.parts import Part, Step, StepKind
from tests.simulation.sidecar_node import SidecarNode
from tests.simulation.tally import PARENTS, ViolationError, customers_from
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as types_pb

SEATS: Final = 12
SLOTS: Final = 60


class Exact(Part):
    """Calls on an allocation that is leased, and on an authoritative feature."""

    features: ClassVar[str] = (
        "  seats: {type: metered, meter: allocation}\n"
        "  slots: {type: metered, consistency: authoritative}\n"
    )
    granted: ClassVar[str] = (
        f"      seats: {{limits: [{{limit: {SEATS}}}]}}\n"
        f"      slots: {{limits: [{{limit: {SLOTS}, window: lifetime}}]}}\n"
    )

    # What applications know that they have; by whom, and by feature.
    _held: Counter[tuple[str, str]]

    def steps(self) -> Sequence[Step]:
        self._held = Counter()
        weights = ((self._acquire, 6), (self._give_back, 6), (self._take_slots, 4))
        return [Step(StepKind.CALL, weight, work) for work, weight in weights]

    def _acquire(self, node: SidecarNode) -> None:
        self._consume(node, "seats", self.random.choice((1, 1, 2, 4)))

    def _give_back(self, node: SidecarNode) -> None:
        """Release seats, on whatever sidecar; from the call on they may be others'."""
        taken = sorted(
            c for (c, feature), units in self._held.items() if feature == "seats" and units
        )
        if taken:
            customer = self.random.choice(taken)
            units = self.random.randint(1, self._held[customer, "seats"])
            self._held[customer, "seats"] -= units
            self._consume(node, "seats", -units, customer)

    def _take_slots(self, node: SidecarNode) -> None:
        self._consume(node, "slots", self.random.choice((1, 1, 3)))

    def _consume(self, node: SidecarNode, feature: str, amount: int, customer: str = "") -> None:
        request = sidecar_pb.ConsumeRequest(
            customer=customer or self.random.choice(tuple(PARENTS)), feature=feature, amount=amount
        )
        node.call(Method.CONSUME, request)

    def answered(self, node: SidecarNode, call: Call, answer: bytes | Status) -> None:
        if call.method is not Method.CONSUME or isinstance(answer, Status):
            return
        request = sidecar_pb.ConsumeRequest.FromString(call.payload)
        decision = sidecar_pb.ConsumeResponse.FromString(answer).decision
        if request.feature not in ("seats", "slots") or request.amount < 0 or not decision.allowed:
            return
        if request.feature == "slots" and decision.decided_by != types_pb.DECIDED_BY_CONTROL_PLANE:
            raise ViolationError(f"{node.name} gave slots without asking: {decision}")
        self._held[request.customer, request.feature] += request.amount
        limit = SEATS if request.feature == "seats" else SLOTS
        for owner in customers_from(request.customer):
            used = sum(
                units
                for (customer, feature), units in self._held.items()
                if feature == request.feature and owner in customers_from(customer)
            )
            if used > limit:
                raise ViolationError(
                    f"overshoot: {node.name} gave {request.amount} {request.feature} to "
                    f"{request.customer}: {used} of {limit} in all for {owner}"
                )
