"""Money: calls whose units cost more or less, under a limit of what they may cost in all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from sqlalchemy import text

from sidecar.transport.seam import Call, Method, Status
from tests.simulation.parts import Part, Step, StepKind
from tests.simulation.sidecar_node import SidecarNode
from tests.simulation.tally import PARENTS, ViolationError
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb

DOLLARS: Final = 90
DOLLAR: Final = 10**8

_SPENT = text(
    """
    SELECT COALESCE(SUM(amount), 0) FROM usage_event WHERE kind = 'spend' AND (
        customer_id = :customer
        OR customer_id IN (SELECT id FROM customer WHERE parent_id = :customer)
    )
    """
)
_OVERAGE = text("SELECT COALESCE(SUM(overage), 0) FROM lease_pool WHERE feature_id = 'spend'")


class Spending(Part):
    """Calls and holds of a feature that costs money, over three tiers."""

    features: ClassVar[str] = (
        "  tokens: {type: metered, consistency: cached, outage: deny, excess: reject}\n"
        "  spend: {type: metered, meter: spend, currency: USD}\n"
    )
    granted: ClassVar[str] = (
        "      tokens: unlimited\n"
        f"      spend: {{limits: [{{limit: {DOLLARS}, window: lifetime}}]}}\n"
    )
    priced: ClassVar[str] = (
        "        - {feature: tokens, included: 3,"
        " graduated: [{up_to: 20, unit: 1}, {up_to: 40, unit: 3, flat: 2}, {unit: 0.5}]}\n"
    )

    _held: list[tuple[SidecarNode, str, str]]
    _holds: int
    # Whether a hold was settled after its deadline: that is charged whatever is left.
    _has_late: bool

    def steps(self) -> Sequence[Step]:
        self._held = []
        self._holds = 0
        self._has_late = False
        weights = ((self._spend, 8), (self._hold_money, 3), (self._settle_money, 3))
        return [Step(StepKind.CALL, weight, work) for work, weight in weights]

    def _spend(self, node: SidecarNode) -> None:
        request = sidecar_pb.ConsumeRequest(
            customer=self._customer(), feature="tokens", amount=self.random.choice((1, 2, 5))
        )
        node.call(Method.CONSUME, request)

    def _hold_money(self, node: SidecarNode) -> None:
        self._holds += 1
        customer, name = self._customer(), f"tokens-money-{self._holds}"
        request = sidecar_pb.ReserveRequest(
            customer=customer, feature="tokens", amount=4, reservation=name, ttl_ms=86_400_000
        )
        self._held.append((node, customer, name))
        node.call(Method.RESERVE, request)

    def _settle_money(self, node: SidecarNode) -> None:
        """Settle a hold with no more than it holds; it may be gone, or never have been."""
        own = [each for each in self._held if each[0] is node]
        if own:
            found = self.random.choice(own)
            self._held.remove(found)
            request = sidecar_pb.SettleRequest(
                customer=found[1], reservation=found[2], amount=self.random.randint(0, 4)
            )
            node.call(Method.SETTLE, request)

    def _customer(self) -> str:
        return self.random.choice(tuple(PARENTS))

    def answered(self, node: SidecarNode, call: Call, answer: bytes | Status) -> None:
        if isinstance(answer, Status):
            return
        if call.method is Method.SETTLE:
            self._has_late |= sidecar_pb.SettleResponse.FromString(answer).had_expired
        if call.method is Method.CONSUME:
            request = sidecar_pb.ConsumeRequest.FromString(call.payload)
            decision = sidecar_pb.ConsumeResponse.FromString(answer).decision
            if request.feature == "tokens" and decision.allowed and decision.max_overshoot:
                raise ViolationError(f"{node.name} says that money may overshoot: {decision}")

    def check(self) -> None:
        """Nobody spends more than the limit; nothing that was drawn was too little."""
        if self._has_late:
            return
        with self.world.upper.database.reading() as connection:
            for customer in PARENTS:
                spent = int(connection.execute(_SPENT, {"customer": customer}).scalar_one())
                if spent > DOLLARS * DOLLAR:
                    raise ViolationError(f"{customer} spent {spent} micros of {DOLLARS} dollars")
            overage = int(connection.execute(_OVERAGE).scalar_one())
            if overage:
                raise ViolationError(f"{overage} micros were spent that nobody had drawn")
