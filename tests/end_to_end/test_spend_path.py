"""Spend limits with real processes: four sidecars spend 50 dollars a day, and not a cent more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random

import grpc
import pytest

from control_plane.catalog import compile_catalog, load_document
from tests.end_to_end.world import World, check, consume, eventually
from weighbridge.rules.rating.period import BillingPeriod
from weighbridge.rules.rating.rate import rate
from weighbridge.rules.rating.usage import Usage
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as pb
from weighbridge.v1.sidecar_service_pb2_grpc import SidecarServiceStub

SIDECARS = 4
LIMIT = Decimal(50)
DEAREST = Decimal("0.05")
MICROS = 10**8
"""Micros of a dollar."""

CATALOG = """
catalog: shop
features:
  tokens: {type: metered, unit: token}
  spend: {type: metered, meter: spend, currency: USD}
plans:
  free:
    features:
      tokens: unlimited
      spend: {limits: [{limit: %s, window: {anniversary: day}}]}
    prices:
      USD:
        - feature: tokens
          graduated: [{up_to: 1000, unit: 0.02}, {up_to: 1400, unit: 0.05}, {unit: 0.001}]
    upgrades_to: [pro]
  pro:
    extends: free
    features: {spend: {limits: [{limit: 5000, window: {anniversary: day}}]}}
"""


class Spender(threading.Thread):
    """Consumes until not even one unit passes, for a while."""

    def __init__(self, api: SidecarServiceStub, seed: int) -> None:
        super().__init__()
        self._api = api
        self._random = Random(seed)
        self.units = 0
        self.last: pb.Decision | None = None

    def run(self) -> None:
        in_vain = 0
        amount = 1
        while in_vain < 40:
            try:
                decision = consume(self._api, "acme", "tokens", amount).decision
            except grpc.RpcError as error:
                # Four that want more than there is may take units from each other for a while.
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                continue
            if decision.allowed:
                self.units += amount
                in_vain = 0
                amount = self._random.randint(1, 40)
                continue
            self.last = decision
            if amount == 1:
                # What was drawn too much comes back once usage settles.
                in_vain += 1
                time.sleep(0.05)
            amount = decision.allowed_amount or 1


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.start()
    made.admin().apply(CATALOG % LIMIT)
    made.admin().create("acme")
    yield made
    made.end()


def true_cost(units: int) -> Decimal:
    document = load_document(CATALOG % LIMIT, "test.yaml")
    plan = compile_catalog(document, 1).plans["free"][1]
    period = BillingPeriod(0, 30 * 86_400_000)
    return sum(
        (line.amount for line in rate(plan.prices, [Usage("tokens", units)], 1, period).lines),
        Decimal(0),
    )


def test_four_sidecars_spend_a_limit_over_tiers_and_never_more(world: World) -> None:
    apis = [world.api()]
    apis += [world.another_sidecar(f"sidecar-{index}") for index in range(1, SIDECARS)]
    spenders = [Spender(api, seed) for seed, api in enumerate(apis)]
    for spender in spenders:
        spender.start()
    for spender in spenders:
        spender.join(120)
    assert not any(spender.is_alive() for spender in spenders)
    units = sum(spender.units for spender in spenders)
    admin = world.admin()
    eventually(lambda: admin.used("acme", "tokens") == units)
    cost = true_cost(units)
    assert Decimal(admin.used("acme", "spend")) / MICROS == cost
    assert LIMIT - DEAREST < cost <= LIMIT
    refusal = spenders[0].last
    assert refusal is not None
    assert refusal.reason == pb.REASON_SPEND_LIMIT_REACHED
    assert (refusal.spend.feature, refusal.spend.currency) == ("spend", "USD")
    assert refusal.spend.limit_micros == int(LIMIT) * MICROS
    assert [hint.plan for hint in refusal.upgrade_hints] == ["pro"]
    assert refusal.resets_in_ms > 0
    status, body = world.control_plane.probe("/readyz")
    assert status == 200, body


def test_a_quote_is_what_the_usage_costs(world: World) -> None:
    api = world.api()
    items = [sidecar_pb.QuoteItem(feature="tokens", amount=900)]
    request = sidecar_pb.QuoteRequest(customer="acme", items=items)
    quoted = api.Quote(request, timeout=5)
    (item,) = quoted.items
    assert item.decision.allowed
    assert [(held.feature, held.micros) for held in item.hold_money] == [("spend", 45 * MICROS)]
    (line,) = quoted.lines
    assert Decimal(line.cost) == Decimal(quoted.total) == true_cost(900) == 18
    assert line.is_used_assumed
    assert consume(api, "acme", "tokens", 900).decision.allowed
    eventually(lambda: world.admin().used("acme", "spend") == Decimal(line.cost) * MICROS)


def test_what_is_left_is_told_and_an_override_gives_more(world: World) -> None:
    api = world.api()
    first = consume(api, "acme", "tokens", 1_400).decision
    # At the dearest price that would be 70 dollars, whatever it really is.
    assert not first.allowed
    assert first.reason == pb.REASON_SPEND_LIMIT_REACHED
    assert first.allowed_amount == 1_000
    assert consume(api, "acme", "tokens", 1_000).decision.allowed
    eventually(lambda: world.admin().used("acme", "spend") == 20 * MICROS)
    # The 30 dollars that it was reckoned too dear are there again.
    eventually(lambda: consume(api, "acme", "tokens", 600).decision.allowed)
    assert not check(api, "acme", "tokens", 10_000).decision.allowed
