"""Rates of the fleet at the gate: calls wait for a share, and an outage has its policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lease_world import LeaseWorld
from test_gate_rates import rated

from sidecar.transport.seam import Pending
from sidecar.uplink.rate_sharing import RateTalk
from tests.sidecar.gate_world import OUTAGE_AFTER_MS, hard
from weighbridge.rules.catalog import Entitlement, OutageKind, OutagePolicy
from weighbridge.rules.lease import Consistency
from weighbridge.rules.rate import Rate, RatePeriod, RateScope
from weighbridge.rules.rate_share import UNIT_LEVEL, whole_share
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import sync_service_pb2 as pb
from weighbridge.v1 import types_pb2

RATE = Rate("per_second", 10, RatePeriod.SECOND, 4, RateScope.FLEET)
WHOLE = whole_share(RATE)
TERM_MS = 58_000


class ShareWorld(LeaseWorld):
    """A sidecar whose feature has a rate of the fleet; the test plays the desk."""

    def __init__(self, folder: Path, outage: OutageKind = OutageKind.DENY) -> None:
        super().__init__(folder)
        entitlement = Entitlement("api.calls", limits=(hard(1_000),), rates=(RATE,))
        policy = OutagePolicy(outage, 1_000)
        changed = rated(3, entitlement, outage=policy, consistency=Consistency.CACHED)
        self.gate.cache.apply_catalog(changed)
        self.rate_talk = RateTalk(self.gate.rate_shares)
        self.rate_talk.on_given = self.waiting.leased
        self.waiting.on_share_wanted = lambda lacks: self.gate.rate_shares.want(
            lacks, self.moment.boot_ms
        )
        self.serial = 0
        self.gate.rate_shares.begin_term(self.moment.boot_ms + TERM_MS, self.moment.boot_ms)

    def call(self, amount: int = 1) -> types_pb2.Decision | Pending:
        answer = self.consume(amount, "api.calls")
        return answer if isinstance(answer, Pending) else _decision(answer)

    def asked(self) -> pb.RateRequest:
        message = self.rate_talk.next_request(1, self.moment.boot_ms)
        assert message is not None
        return message.rate_request

    def give(self, parts: int, burst: int, added: int = 0, retry_in_ms: int = 0) -> None:
        self.serial += 1
        share = pb.RateShare(
            key=pb.RateKey(customer="acme", feature="api.calls", rate_id="per_second"),
            serial=self.serial,
            share=pb.RatePart(parts=parts, burst=burst),
            added=added * UNIT_LEVEL,
            retry_in_ms=retry_in_ms,
        )
        self.rate_talk.receive(pb.RateShares(shares=[share]), self.moment.boot_ms)


def _decision(answer: object) -> types_pb2.Decision:
    assert isinstance(answer, bytes), answer
    return sidecar_pb.ConsumeResponse.FromString(answer).decision


def world(folder: Path, outage: OutageKind = OutageKind.DENY) -> ShareWorld:
    return ShareWorld(folder, outage)


def test_a_call_waits_for_a_share_and_a_check_does_not(tmp_path: Path) -> None:
    asking = world(tmp_path)
    assert asking.check(4, "api.calls").decision.allowed
    assert not asking.check(5, "api.calls").decision.allowed
    waits = asking.call(2)
    assert isinstance(waits, Pending)
    (ask,) = asking.asked().asks
    assert (ask.whole.parts, ask.whole.burst, ask.units_min) == (WHOLE.parts, 4, 2)
    assert not ask.HasField("parts")
    asking.give(WHOLE.parts, 4, added=4)
    assert _decision(waits.answer).allowed
    assert asking.call(2).allowed
    refusal = asking.call()
    assert (refusal.reason, refusal.retry_after_ms) == (types_pb2.REASON_RATE_LIMITED, 100)
    asking.later(100)
    assert asking.call().allowed
    assert [ack.serial for ack in asking.asked().acks] == [1]
    asking.close()


def test_a_smaller_share_gives_back_what_is_too_much(tmp_path: Path) -> None:
    asking = world(tmp_path)
    asking.call()
    asking.asked()
    asking.give(WHOLE.parts, 4, added=4)
    asking.give(WHOLE.parts // 2, 1)
    first, second = asking.asked().acks
    assert (first.returned, second.returned) == (0, 2 * UNIT_LEVEL)
    assert asking.call().allowed
    refusal = asking.call()
    assert refusal.retry_after_ms == 200
    # It asks for more, and says of how much one call was in want.
    assert asking.call(3).reason == types_pb2.REASON_RATE_LIMITED
    asking.later(1_000)
    assert asking.call(3).reason == types_pb2.REASON_RATE_LIMITED
    (ask,) = asking.asked().asks
    assert ask.units_min == 3
    assert ask.parts > 0
    asking.close()


def test_where_nothing_is_to_be_had_it_says_when_to_ask_again(tmp_path: Path) -> None:
    asking = world(tmp_path)
    waits = asking.call()
    assert isinstance(waits, Pending)
    asking.asked()
    asking.give(0, 0, retry_in_ms=700)
    told = _decision(waits.answer)
    assert (told.reason, told.retry_after_ms) == (types_pb2.REASON_RATE_LIMITED, 700)
    asking.later(699)
    assert asking.call().retry_after_ms == 1
    asking.later(1)
    assert isinstance(asking.call(), Pending)
    asking.close()


def test_an_idle_share_goes_back_and_so_does_all_at_a_stop(tmp_path: Path) -> None:
    asking = world(tmp_path)
    asking.call()
    asking.asked()
    asking.give(WHOLE.parts, 4, added=4)
    asking.asked()
    asking.later(4_999)
    asking.gate.tidy(asking.moment)
    assert not asking.gate.rate_shares.has_request
    asking.later(1)
    asking.gate.tidy(asking.moment)
    (ack,) = asking.asked().acks
    assert ack.ended
    assert ack.returned == 4 * UNIT_LEVEL
    # One that comes after that is given back as it is.
    asking.give(WHOLE.parts, 4, added=3)
    (ack,) = asking.asked().acks
    assert (ack.ended, ack.returned) == (True, 3 * UNIT_LEVEL)
    asking.call()
    asking.asked()
    asking.give(WHOLE.parts, 4, added=2)
    asking.asked()
    asking.gate.give_back_all(asking.moment.boot_ms)
    assert asking.asked().acks[0].ended
    asking.close()


def test_on_a_new_stream_shares_are_named_and_last_no_longer_until_stated(tmp_path: Path) -> None:
    asking = world(tmp_path)
    asking.call()
    asking.asked()
    asking.give(WHOLE.parts, 4, added=4)
    hello = pb.Hello()
    asking.rate_talk.begin_stream(hello, asking.moment.boot_ms)
    (held,) = hello.rate_shares
    assert (held.share.parts, held.share.burst, held.whole.burst) == (WHOLE.parts, 4, 4)
    shares = asking.gate.rate_shares
    shares.begin_term(asking.moment.boot_ms + 2 * TERM_MS, asking.moment.boot_ms)
    asking.later(TERM_MS - 1)
    assert asking.call().allowed
    asking.later(1)
    assert isinstance(asking.call(), Pending)
    # The share that ended is told as such, and one is asked for.
    request = asking.asked()
    assert [ack.ended for ack in request.acks] == [True]
    assert len(request.asks) == 1
    asking.close()


def test_a_lowered_rate_lowers_the_share_at_once(tmp_path: Path) -> None:
    asking = world(tmp_path)
    asking.call()
    asking.asked()
    asking.give(WHOLE.parts, 4, added=4)
    asking.asked()
    lower = replace(RATE, limit=1, burst=1)
    entitlement = Entitlement("api.calls", limits=(hard(1_000),), rates=(lower,))
    asking.gate.cache.apply_catalog(rated(4, entitlement, consistency=Consistency.CACHED))
    assert asking.call().allowed
    assert asking.call().retry_after_ms == 1_000
    (ask,) = asking.asked().asks
    assert ask.whole.burst == 1
    asking.close()


@pytest.mark.parametrize(
    ("outage", "passes"),
    [
        (OutageKind.DENY, 0),
        (OutageKind.LEASED, 0),
        (OutageKind.ALLOW, 9),
        (OutageKind.LAST_KNOWN, 4),
        (OutageKind.SAFE_CAPACITY, 4),
    ],
)
def test_without_a_share_the_outage_policy_decides(
    tmp_path: Path, outage: OutageKind, passes: int
) -> None:
    asking = world(tmp_path, outage)
    asking.later(OUTAGE_AFTER_MS, is_heard=False)
    decisions = [asking.call() for _ in range(9)]
    assert [decision.allowed for decision in decisions].count(True) == passes
    if not passes:
        assert decisions[0].reason == types_pb2.REASON_OUTAGE_POLICY
    assert decisions[0].decided_by == types_pb2.DECIDED_BY_OUTAGE_POLICY
    asking.close()


def test_a_share_is_spent_in_an_outage_until_its_time_is_over(tmp_path: Path) -> None:
    asking = world(tmp_path)
    asking.call()
    asking.asked()
    asking.give(WHOLE.parts, 4, added=4)
    asking.later(TERM_MS - 1, is_heard=False)
    asking.gate.tidy(asking.moment)
    allowed = [
        asking.gate.rate_shares.state("acme", ("", "api.calls"), RATE, at).is_held
        for at in (asking.moment.boot_ms, asking.moment.boot_ms + 1)
    ]
    assert allowed == [True, False]
    asking.close()
