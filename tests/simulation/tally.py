"""What applications were told, counted apart from everything that is under test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sidecar.core.usage import Position
from sidecar.transport.seam import Call, Method, Status
from sidecar.wire.record import decode_record
from tests.simulation import rolling
from tests.simulation.sidecar_node import SidecarNode
from weighbridge.rules.catalog import Edition
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as types_pb

HOUR_MS: Final = 3_600_000

LIMITS: Final = {"calls": ("lifetime",), "jobs": ("lifetime", "hour")}
"""Ids of the hard limits of each feature; they name the window."""

PARENTS: Final = {"acme": "", "acme.east": "acme", "acme.west": "acme", "solo": ""}
FLEET: Final = types_pb.IDEMPOTENCY_SCOPE_FLEET


class LimitOf(NamedTuple):
    """A hard limit of somebody."""

    customer: str
    feature: str
    limit_id: str


class PoolOf(NamedTuple):
    """A hard limit in one window."""

    of: LimitOf
    start_ms: int


class Stated(NamedTuple):
    """A limit as it was from a version of the customer and an edition of the catalog on."""

    version: int
    edition: Edition
    limit: int


class Usage(NamedTuple):
    """Usage that a receipt was given for."""

    customer: str
    feature: str
    units: int
    key: str


class RecordOf(NamedTuple):
    """A record that a receipt names."""

    sidecar_id: str
    epoch: str
    number: int


@dataclass
class OpenHold:
    """A reservation as an application knows it."""

    amount: int
    pools: Counter[PoolOf] = field(default_factory=Counter)
    rolling: list[rolling.Admitted] = field(default_factory=list)
    told: int = 0

    def end(self, admitted: Counter[PoolOf], covered: int) -> None:
        """Have so many of its units be used, and the others be anybody's again."""
        for pool, units in self.pools.items():
            admitted[pool] -= max(units - covered, 0)
        rolling.keep(self.rolling, covered)
        self.rolling.clear()
        self.pools.clear()
        self.amount = 0


class ViolationError(AssertionError):
    """Something happened that never may."""


def customers_from(customer: str) -> Iterator[str]:
    """Yield a customer and everybody above it."""
    while customer:
        yield customer
        customer = PARENTS[customer]


def pools_of(customer: str, feature: str, at_ms: int) -> list[PoolOf]:
    """Return every pool that usage counts in."""
    return [
        PoolOf(
            LimitOf(owner, feature, limit_id),
            at_ms // HOUR_MS * HOUR_MS if limit_id == "hour" else 0,
        )
        for owner in customers_from(customer)
        for limit_id in LIMITS.get(feature, ())
    ]


class Tally:
    """Everything that was admitted and acknowledged."""

    def __init__(self) -> None:
        self.limits: dict[LimitOf, list[Stated]] = {}
        self.admitted: Counter[PoolOf] = Counter()
        self.rolling = rolling.RollingTally()
        self.acknowledged: dict[RecordOf, list[Usage]] = {}
        self.holds: dict[tuple[str, str, str], OpenHold] = {}
        self.answers: Counter[str] = Counter()
        self._fleet_keys: set[tuple[str, str]] = set()
        # Keys that a disk has answers to, with the record of the first one.
        self.keyed: dict[tuple[str, str, str], str] = {}

    def state_limit(self, of: LimitOf, stated: Stated) -> None:
        """Note what a limit is from now on."""
        told = self.limits.setdefault(of, [])
        if not told or told[-1] != stated:
            told.append(stated)

    def take(self, node: SidecarNode, call: Call, answer: bytes | Status) -> None:
        """Take in an answer that an application got."""
        if isinstance(answer, Status):
            self.answers[f"{call.method.value} {answer.code.name}"] += 1
            return
        match call.method:
            case Method.CONSUME:
                self._consumed(node, sidecar_pb.ConsumeRequest.FromString(call.payload), answer)
            case Method.REPORT:
                self._reported(node, sidecar_pb.ReportRequest.FromString(call.payload), answer)
            case Method.RESERVE:
                self._reserved(node, sidecar_pb.ReserveRequest.FromString(call.payload), answer)
            case Method.EXTEND:
                self._extended(node, sidecar_pb.ExtendRequest.FromString(call.payload), answer)
            case Method.SETTLE:
                self._settled(node, sidecar_pb.SettleRequest.FromString(call.payload), answer)
            case Method.RELEASE:
                request = sidecar_pb.ReleaseRequest.FromString(call.payload)
                self._released(self.holds.pop(_hold_key(node, request), None))
            case _:
                pass

    def look_at_holds(self, node: SidecarNode) -> None:
        """Free what expired: from then on, its units are others'."""
        if not self.holds or not node.is_up:
            return
        reservations = node.parts.gate.reservations
        for key, hold in self.holds.items():
            if key[0] == str(node.disk) and (hold.pools or hold.rolling):
                found = reservations.find(key[1], key[2])
                if found is not None and found.has_expired:
                    hold.end(self.admitted, 0)

    def told(self, node: SidecarNode, customer: str, reservation: str, used: int) -> None:
        """Note what the work over a hold says it has used."""
        hold = self.holds[str(node.disk), customer, reservation]
        hold.told = max(hold.told, used)

    def expired(self, node: SidecarNode, number: int) -> None:
        """Take in what a record charges at deadlines: of what was told, as much as it has."""
        journal = node.parts._journal
        before = Position(journal.epoch_index, number - 1)
        (stored,) = journal.read_after(before, 1, 1 << 20)
        record = decode_record(stored.payload).record
        for closed in record.holds_closed:
            hold = self.holds.get((str(node.disk), closed.customer, closed.reservation))
            if closed.charged_amount > (0 if hold is None else hold.told):
                raise ViolationError(f"{node.name}: {closed} for {hold}")
            if hold is not None:
                hold.end(self.admitted, min(closed.charged_amount, hold.amount))
        charged = sum(closed.charged_amount for closed in record.holds_closed)
        if charged != sum(entry.amount for entry in record.entries):
            raise ViolationError(f"{node.name}: {charged} charged at deadlines, in {record}")
        made = RecordOf(journal.sidecar_id, record.epoch, number)
        for entry in record.entries:
            usage = Usage(entry.customer, entry.feature, entry.amount, "")
            self.acknowledged.setdefault(made, []).append(usage)
            self.answers["told and charged"] += 1

    def forget_holds(self, node: SidecarNode) -> None:
        """No hold of a disk that is gone is settled any more; what they hold stays admitted."""
        for key in [key for key in self.holds if key[0] == str(node.disk)]:
            del self.holds[key]

    def _consumed(
        self, node: SidecarNode, request: sidecar_pb.ConsumeRequest, answer: bytes
    ) -> None:
        response = sidecar_pb.ConsumeResponse.FromString(answer)
        self._note(Method.CONSUME, response.decision, is_replayed=response.replayed)
        if response.replayed or not response.decision.allowed:
            return
        self._remember_key(node, request, response.receipt)
        key = request.idempotency_key if request.idempotency_scope == FLEET else ""
        self._acknowledge(
            node,
            response.receipt,
            Usage(request.customer, request.feature, request.amount, key),
        )
        if key:
            # A key that two sidecars admitted is usage once.
            if (request.customer, key) in self._fleet_keys:
                return
            self._fleet_keys.add((request.customer, key))
        self._admit(node, request.customer, request.feature, response.decision, request.amount)

    def forget_keys(self, node: SidecarNode | None = None) -> None:
        """Expect no replays: a power loss took answers, or a clock stepped and made keys old."""
        gone = [key for key in self.keyed if node is None or key[0] == str(node.disk)]
        for key in gone:
            del self.keyed[key]

    def _remember_key(
        self, node: SidecarNode, request: sidecar_pb.ConsumeRequest, receipt: sidecar_pb.Receipt
    ) -> None:
        """Check that a key has one receipt, also after a restart."""
        if not request.idempotency_key:
            return
        key = (str(node.disk), request.customer, request.idempotency_key)
        record = f"{receipt.epoch} {receipt.record_number}"
        if key in self.keyed:
            raise ViolationError(f"{key} was recorded in {self.keyed[key]}, and in {record} again")
        self.keyed[key] = record

    def _reported(
        self, node: SidecarNode, request: sidecar_pb.ReportRequest, answer: bytes
    ) -> None:
        response = sidecar_pb.ReportResponse.FromString(answer)
        self.answers["Report"] += 1
        if not response.replayed:
            usage = Usage(request.customer, request.feature, request.amount, "")
            self._acknowledge(node, response.receipt, usage)

    def _reserved(
        self, node: SidecarNode, request: sidecar_pb.ReserveRequest, answer: bytes
    ) -> None:
        response = sidecar_pb.ReserveResponse.FromString(answer)
        self._note(Method.RESERVE, response.decision, is_replayed=response.replayed)
        if response.replayed or not response.decision.allowed:
            return
        hold = self.holds[_hold_key(node, request)] = OpenHold(request.amount)
        hold.pools.update(
            self._admit(
                node, request.customer, request.feature, response.decision, request.amount, hold
            )
        )

    def _extended(
        self, node: SidecarNode, request: sidecar_pb.ExtendRequest, answer: bytes
    ) -> None:
        response = sidecar_pb.ExtendResponse.FromString(answer)
        self._note(Method.EXTEND, response.decision, is_replayed=False)
        hold = self.holds.get(_hold_key(node, request))
        if not response.decision.allowed or hold is None:
            return
        more = response.reservation.amount - hold.amount
        hold.amount = response.reservation.amount
        feature = response.decision.feature
        hold.pools.update(
            self._admit(node, request.customer, feature, response.decision, more, hold)
        )

    def _settled(self, node: SidecarNode, request: sidecar_pb.SettleRequest, answer: bytes) -> None:
        response = sidecar_pb.SettleResponse.FromString(answer)
        self.answers["Settle"] += 1
        if response.replayed:
            return
        hold = self.holds.pop(_hold_key(node, request), None)
        feature = request.reservation.partition("-")[0]
        left = max(request.amount - response.charged_before_amount, 0)
        self._acknowledge(node, response.receipt, Usage(request.customer, feature, left, ""))
        if hold is not None:
            hold.end(self.admitted, min(request.amount, hold.amount))

    def _released(self, hold: OpenHold | None) -> None:
        if hold is not None:
            hold.end(self.admitted, 0)

    def _acknowledge(self, node: SidecarNode, receipt: sidecar_pb.Receipt, usage: Usage) -> None:
        if receipt.amount != usage.units:
            raise ViolationError(f"{node.name}: a receipt of {receipt.amount} for {usage}")
        record = RecordOf(node.parts._journal.sidecar_id, receipt.epoch, receipt.record_number)
        self.acknowledged.setdefault(record, []).append(usage)

    def _admit(
        self,
        node: SidecarNode,
        customer: str,
        feature: str,
        decision: types_pb.Decision,
        units: int,
        hold: OpenHold | None = None,
    ) -> Counter[PoolOf]:
        """Count units that leases admitted, and compare with what the limits allow there."""
        if decision.decided_by != types_pb.DECIDED_BY_LEASE or not units:
            return Counter()
        if feature == rolling.FEATURE:
            owners = customers_from(customer)
            made, wrong = self.rolling.admit(owners, node.moment().now_ms, units)
            if wrong:
                raise ViolationError(f"overshoot: {node.name} admitted {units}, so {wrong}")
            if hold is not None:
                hold.rolling.append(made)
        pools = pools_of(customer, feature, node.moment().now_ms)
        for pool in pools:
            self.admitted[pool] += units
            allowed = self._allowed(node, pool.of)
            if self.admitted[pool] > allowed:
                raise ViolationError(
                    f"overshoot: {node.name} admitted {units} of {pool}: {self.admitted[pool]} in "
                    f"all, and the limit was at most {allowed} since the version applied there"
                )
        return Counter(dict.fromkeys(pools, units))

    def _allowed(self, node: SidecarNode, of: LimitOf) -> int:
        """Return the highest limit of all versions from the one applied at a sidecar on."""
        cache = node.parts.gate.cache
        state = cache.find(of.customer)
        edition = cache.compiler(state.customer.catalog).catalog.edition
        version = state.customer.version
        told = self.limits[of]
        first = 0
        for index, stated in enumerate(told):
            if stated.version <= version and stated.edition <= edition:
                first = index
        return max(stated.limit for stated in told[first:])

    def _note(self, method: Method, decision: types_pb.Decision, *, is_replayed: bool) -> None:
        what = "allowed" if decision.allowed else types_pb.Reason.Name(decision.reason)
        by = types_pb.DecidedBy.Name(decision.decided_by).removeprefix("DECIDED_BY_")
        self.answers[f"{method.value} {what} {by}{' again' * is_replayed}"] += 1


def _hold_key(
    node: SidecarNode,
    request: sidecar_pb.ReserveRequest
    | sidecar_pb.ExtendRequest
    | sidecar_pb.SettleRequest
    | sidecar_pb.ReleaseRequest,
) -> tuple[str, str, str]:
    return (str(node.disk), request.customer, request.reservation)
