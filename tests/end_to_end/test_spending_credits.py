"""Credits with real processes: four sidecars spend one prepaid balance to exactly zero."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.end_to_end.world import World, check, consume, eventually
from weighbridge.runtime.clock import wall_ms
from weighbridge.v1 import credit_service_pb2 as credit_pb
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as pb
from weighbridge.v1.credit_service_pb2_grpc import CreditServiceStub
from weighbridge.v1.sidecar_service_pb2_grpc import SidecarServiceStub

SIDECARS = 4
MICRO = 1_000_000
CATALOG = """
catalog: shop
features:
  tokens: {type: metered, unit: token}
credit_types:
  ai:
    costs:
      - {feature: tokens, match: {model: large}, cost: 3}
      - {feature: tokens, cost: 1}
plans:
  free: {features: {tokens: {credits: ai}}}
"""


class Fleet:
    """Four sidecars, one customer, and its credits."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.world.control_plane.set(
            WEIGHBRIDGE_CONTROL_PLANE_LEASE_TTL_MS="6000",
            WEIGHBRIDGE_CONTROL_PLANE_LEASE_LOST_AFTER_MS="600000",
        )
        self.world.start()
        self.admin = self.world.admin()
        self.admin.apply(CATALOG)
        self.admin.create("acme")
        self.apis: list[SidecarServiceStub] = [self.world.api()]
        for index in range(1, SIDECARS):
            self.apis.append(self.world.another_sidecar(f"sidecar-{index}"))
        self.credits = CreditServiceStub(self.world._channel(f"127.0.0.1:{self.world.grpc_port}"))

    def grant(self, key: str, credits_: int, expires_in_ms: int = 0) -> None:
        request = credit_pb.GrantCreditsRequest(
            customer="acme",
            credit_type="ai",
            key=key,
            kind=pb.CREDIT_GRANT_KIND_PREPAID,
            amount_micro=credits_ * MICRO,
        )
        if expires_in_ms:
            request.expires_at_unix_ms = wall_ms() + expires_in_ms
        self.credits.GrantCredits(request, metadata=self.admin.metadata(), timeout=10)

    def balance(self) -> credit_pb.CreditBalance:
        request = credit_pb.GetBalancesRequest(customer="acme")
        found = self.credits.GetBalances(request, metadata=self.admin.metadata(), timeout=10)
        return found.balances[0]

    def verify(self) -> None:
        verified = self.credits.VerifyLedgers(
            credit_pb.VerifyLedgersRequest(), metadata=self.admin.metadata(), timeout=30
        )
        assert not verified.differences, verified.differences
        status, body = self.world.control_plane.probe("/readyz")
        assert (status, body.strip()) == (200, "ready")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    made.world.end()


class Spender(threading.Thread):
    """Consumes until credits are exhausted, and counts what was answered."""

    def __init__(self, api: SidecarServiceStub, amount: int) -> None:
        super().__init__()
        self._api = api
        self._amount = amount
        self.charged = 0
        self.unanswered = 0
        self.reason = pb.REASON_UNSPECIFIED

    def run(self) -> None:
        refused = 0
        while refused < 3:
            try:
                answer = consume(self._api, "acme", "tokens", self._amount)
            except grpc.RpcError:
                self.unanswered += self._amount
                time.sleep(0.05)
                continue
            if answer.decision.allowed:
                self.charged += answer.receipt.credits_micro
                continue
            self.reason = answer.decision.reason
            refused += 1


def spend_all(fleet: Fleet) -> list[Spender]:
    spenders = [Spender(api, amount) for api in fleet.apis for amount in (1, 2)]
    for spender in spenders:
        spender.start()
    for spender in spenders:
        spender.join(90)
    assert not any(spender.is_alive() for spender in spenders)
    return spenders


def test_four_sidecars_spend_a_prepaid_balance_to_exactly_zero(fleet: Fleet) -> None:
    fleet.grant("first", 400)
    eventually(lambda: check(fleet.apis[0], "acme", "tokens").decision.allowed)
    spenders = spend_all(fleet)
    assert sum(spender.charged for spender in spenders) == 400 * MICRO
    assert {spender.reason for spender in spenders} == {pb.REASON_CREDITS_EXHAUSTED}

    def settled() -> bool:
        return fleet.balance().settled_micro == 400 * MICRO

    eventually(settled)
    balance = fleet.balance()
    assert (balance.available_micro, balance.reserved_micro, balance.overage_micro) == (0, 0, 0)
    refused = consume(fleet.apis[2], "acme", "tokens").decision
    assert (refused.allowed, refused.reason) == (False, pb.REASON_CREDITS_EXHAUSTED)
    # A grant ends refusals long before they would lapse.
    fleet.grant("second", 10)
    eventually(lambda: consume(fleet.apis[2], "acme", "tokens", 10).decision.allowed)
    fleet.verify()


def test_a_charge_is_explained_by_its_key_and_priced_by_its_dimensions(fleet: Fleet) -> None:
    fleet.grant("first", 100)
    request = sidecar_pb.ConsumeRequest(
        customer="acme",
        feature="tokens",
        amount=5,
        idempotency_key="call-1",
        dimensions={"model": "large"},
    )
    answer = fleet.apis[0].Consume(request, timeout=10)
    (charge,) = answer.receipt.charges
    assert dict(charge.dimensions) == {"model": "large"}
    assert (charge.amount, charge.micro_per_million, charge.micro) == (
        5,
        3_000_000 * MICRO,
        15 * MICRO,
    )
    assert answer.receipt.credits_micro == 15 * MICRO

    def explained() -> credit_pb.LedgerTransaction | None:
        listed = fleet.credits.ListLedger(
            credit_pb.ListLedgerRequest(customer="acme", event_key="call-1"),
            metadata=fleet.admin.metadata(),
            timeout=10,
        )
        return listed.transactions[0] if listed.transactions else None

    transaction = eventually(explained)
    assert [(each.account, each.amount_micro) for each in transaction.entries] == [
        ("grant:1", -15 * MICRO),
        ("spent", 15 * MICRO),
    ]
    assert transaction.usage.record_number == answer.receipt.record_number
    fleet.verify()


def test_a_hold_is_priced_as_admitted_and_what_it_did_not_need_comes_back(fleet: Fleet) -> None:
    fleet.grant("first", 10)
    reserve = sidecar_pb.ReserveRequest(
        customer="acme", feature="tokens", amount=9, reservation="r1"
    )
    assert fleet.apis[0].Reserve(reserve, timeout=10).decision.allowed
    assert not consume(fleet.apis[2], "acme", "tokens", 2).decision.allowed
    settled = fleet.apis[0].Settle(
        sidecar_pb.SettleRequest(customer="acme", reservation="r1", amount=4), timeout=10
    )
    assert settled.receipt.credits_micro == 4 * MICRO
    eventually(lambda: fleet.balance().settled_micro == 4 * MICRO)
    assert consume(fleet.apis[1], "acme", "tokens", 6).decision.allowed
    eventually(lambda: fleet.balance().settled_micro == 10 * MICRO)
    assert fleet.balance().overage_micro == 0
    fleet.verify()


def test_sidecars_that_are_killed_lose_no_credit_and_double_none(fleet: Fleet) -> None:
    fleet.grant("first", 30_000)
    eventually(lambda: check(fleet.apis[0], "acme", "tokens").decision.allowed)
    spenders = [Spender(api, amount) for api in fleet.apis for amount in (1, 2)]
    for spender in spenders:
        spender.start()
    for victim in (fleet.world.sidecar, *fleet.world._others[:2], fleet.world.control_plane):
        time.sleep(0.7)
        victim.kill()
        victim.start(wait_ready=False)
    for spender in spenders:
        spender.join(120)
    assert not any(spender.is_alive() for spender in spenders)
    for process in (fleet.world.control_plane, fleet.world.sidecar, *fleet.world._others):
        process.wait_ready()
    charged = sum(spender.charged for spender in spenders)
    unanswered = sum(spender.unanswered for spender in spenders) * MICRO

    # What sidecars hold still is theirs to spend: idle leases come back after a minute.
    eventually(lambda: charged <= fleet.balance().settled_micro)
    balance = fleet.balance()
    left = balance.available_micro + balance.reserved_micro
    assert balance.settled_micro + left + balance.presumed_micro == 30_000 * MICRO
    assert charged <= balance.settled_micro <= charged + unanswered
    assert balance.overage_micro == 0
    fleet.verify()


def test_a_grant_that_expires_while_it_is_leased_is_spent_no_more(fleet: Fleet) -> None:
    fleet.grant("short", 100, expires_in_ms=4_000)
    assert consume(fleet.apis[0], "acme", "tokens", 10).decision.allowed
    eventually(
        lambda: (
            check(fleet.apis[0], "acme", "tokens").decision.reason == pb.REASON_CREDITS_EXHAUSTED
            or not consume(fleet.apis[0], "acme", "tokens").decision.allowed
        )
    )

    def booked() -> bool:
        balance = fleet.balance()
        return balance.settled_micro + balance.expired_micro == 100 * MICRO

    eventually(booked)
    assert fleet.balance().overage_micro == 0
    fleet.verify()
