"""Money that usage really cost: pools get the difference to what was drawn, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from leased import CATALOG, DAY_MS, NOW_MS, Leased, Sidecar, entry, record
from sqlalchemy import delete

from control_plane.granting.work import Granted, Want
from control_plane.leasing.settling import Draw
from control_plane.metering.priced_units import KEPT_MS, prune_priced_units
from control_plane.metering.records import UsageEntry, UsageRecord
from control_plane.storage.database import Database
from control_plane.storage.spend_tables import priced_usage
from control_plane.storage.tables import usage_total
from weighbridge.rules.dearest import Dearest
from weighbridge.rules.lease import PoolKey
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.rating.prices import QuantityPrice
from weighbridge.rules.rating.tiers import Tier, TierMode, TierTable
from weighbridge.rules.units import COUNTER_MAX

DOLLAR = 10**8
FREE = 10
TIERS = ((100, 2), (200, 5), (None, 1))

SPENDING = """
catalog: api
features:
  calls: {type: metered}
  images: {type: metered}
  spend: {type: metered, meter: spend, currency: USD}
  image_spend: {type: metered, meter: spend, currency: USD, of: [images]}
plans:
  pro:
    features:
      calls: unlimited
      images: unlimited
      spend: {limits: [{limit: 1000, window: {anniversary: day}}]}
      image_spend: {limits: [{limit: 3, window: lifetime}]}
    prices:
      USD:
        - feature: calls
          included: 10
          graduated: [{up_to: 100, unit: 2}, {up_to: 200, unit: 5}, {unit: 1}]
        - {feature: calls, match: {model: small}, per_unit: 0.001, per: 3}
        - {feature: images, package: 2, size: 10}
  child: {features: {calls: unlimited, images: unlimited}}
"""


@pytest.fixture
def world(database_url: str) -> Iterator[Leased]:
    database = Database(database_url)
    database.migrate()
    made = Leased(database, SPENDING)
    made.create("acme")
    yield made
    database.close()


def dearest() -> Dearest:
    table = tuple(Tier(up_to, Decimal(unit)) for up_to, unit in TIERS)
    rate = TierTable(TierMode.GRADUATED, table)
    return Dearest(QuantityPrice(key="c", currency=Currency("USD", 2), rate=rate, feature="calls"))


def cost(units: int) -> int:
    """Return what the first so many calls cost, by hand."""
    charged, reached, total = max(units - FREE, 0), 0, 0
    for up_to, price in TIERS:
        end = charged if up_to is None else min(up_to, charged)
        total += max(end - reached, 0) * price
        reached = max(reached, end)
    return total * DOLLAR


def spend_of(customer: str, at_ms: int = NOW_MS) -> PoolKey:
    return PoolKey(customer, "", "spend", "day", at_ms)


def lease_money(world: Leased, sidecar: Sidecar, micros: int) -> int:
    want = Want(spend_of(sidecar.customer), micros, micros, COUNTER_MAX)
    answer = world.ask(sidecar, want)
    assert isinstance(answer, Granted), answer
    sidecar.learn(answer.leases)
    return answer.leases[0].id


def spend(sidecar: Sidecar, lease: int, units: int, **changes: Any) -> UsageRecord:
    drawn = dearest().micros(units)
    sidecar.held[lease].drawn += drawn
    used = entry(sidecar.customer, units, spent=(("spend", drawn),), **changes)
    return sidecar.record(used, draws=[Draw(lease, drawn)])


def terms(world: Leased, customer: str = "acme") -> tuple[int, int, int]:
    assert not world.check().differences
    pool = world.pool(spend_of(customer))
    return (pool.available, pool.overage, pool.settled)


def test_a_pool_gets_back_what_usage_did_not_cost(world: Leased) -> None:
    sidecar = Sidecar("sc-1", "acme")
    lease = lease_money(world, sidecar, 300 * DOLLAR)
    assert terms(world) == (700 * DOLLAR, 0, 0)
    # 50 calls are drawn at 5 dollars each; 10 are free and 40 cost 2.
    settled = world.settle(spend(sidecar, lease, 50))
    assert settled.gains[0].available == (700 + 250 - 80) * DOLLAR
    assert terms(world) == (870 * DOLLAR, 0, 80 * DOLLAR)
    # The next ones reach into the second tier.
    world.settle(spend(sidecar, lease, 10), record(("sc-2", "e1"), 1, entry("acme", 60)))
    assert terms(world)[2] == cost(120)


def test_what_was_not_drawn_is_taken_and_past_the_limit_is_overage(world: Leased) -> None:
    sidecar = Sidecar("sc-1", "acme")
    lease_money(world, sidecar, 100 * DOLLAR)
    world.settle(record(("sc-2", "e1"), 1, entry("acme", 10_000)))
    settled = cost(10_000)
    assert terms(world) == (0, settled - 900 * DOLLAR, settled)


def test_settlement_charges_no_more_than_usage_was_admitted_at(world: Leased) -> None:
    sidecar = Sidecar("sc-1", "acme")
    lease = lease_money(world, sidecar, 500 * DOLLAR)
    world.apply(SPENDING.replace("up_to: 100, unit: 2", "up_to: 100, unit: 50"))
    world.settle(spend(sidecar, lease, 60))
    # 60 units at 5 dollars, and not 50 at 50.
    assert terms(world) == (500 * DOLLAR, 0, 300 * DOLLAR)


def test_any_split_in_any_order_costs_what_rating_says(world: Leased) -> None:
    random = Random(3)
    sidecars = [Sidecar(f"sc-{number}", "acme") for number in range(3)]
    total = 0
    for _ in range(12):
        records = []
        for sidecar in sidecars:
            if random.random() < 0.7:
                units = random.randint(0, 12)
                lease = lease_money(world, sidecar, dearest().micros(units) + 1)
                records.append(spend(sidecar, lease, units))
                total += units
        random.shuffle(records)
        world.settle(*records)
        available, overage, settled = terms(world)
        assert (settled, overage) == (cost(total), 0)
        assert available >= 0


def test_units_of_a_period_are_found_again_from_events(world: Leased) -> None:
    sidecar = Sidecar("sc-1", "acme")
    lease = lease_money(world, sidecar, 900 * DOLLAR)
    small = {"dimensions": (("model", "small"),)}
    world.settle(spend(sidecar, lease, 70), spend(sidecar, lease, 3, **small))
    with world.database.writing() as connection:
        connection.execute(delete(priced_usage))
        assert prune_priced_units(connection, NOW_MS + 2 * KEPT_MS) == 0
    world.settle(spend(sidecar, lease, 60))
    assert terms(world)[2] == cost(130) + DOLLAR // 1000
    with world.database.writing() as connection:
        assert prune_priced_units(connection, NOW_MS + KEPT_MS) == 1


def test_a_total_that_is_gone_is_summed_from_what_usage_cost(world: Leased) -> None:
    sidecar = Sidecar("sc-1", "acme")
    lease = lease_money(world, sidecar, 900 * DOLLAR)
    world.settle(spend(sidecar, lease, 70))
    with world.database.writing() as connection:
        connection.execute(delete(usage_total))
    world.settle(spend(sidecar, lease, 1))
    assert terms(world)[2] == cost(71)


def test_usage_counts_in_every_meter_that_names_it(world: Leased) -> None:
    world.settle(record(("sc-1", "e1"), 1, entry("acme", 5, feature="images"), entry("acme", 11)))
    world.settle(record(("sc-1", "e1"), 2, entry("acme", 6, feature="images")))
    totals = {row.feature_id: row.total for row in world.rows(usage_total)}
    # Two packages; and one call past those that are included.
    assert totals == {"spend": 4 * DOLLAR + 2 * DOLLAR, "image_spend": 4 * DOLLAR}


def test_whoever_is_above_pays_for_those_below_at_the_dearest(world: Leased) -> None:
    world.create("inherits", plan="", parent="acme")
    world.create("own", plan="child", parent="acme")
    world.settle(
        record(("sc-1", "e1"), 1, entry("inherits", 3), entry("own", 4)),
        record(("sc-1", "e1"), 2, entry("acme", 2)),
    )
    totals = {row.customer_id: row.total for row in world.rows(usage_total)}
    # A plan of one's own without prices costs nothing; who shares tiers is charged the dearest.
    assert totals == {"acme": (3 + 2) * 5 * DOLLAR}


def test_usage_of_another_day_costs_on_that_day(world: Leased) -> None:
    late: list[UsageEntry] = [
        entry("acme", 20, at_ms=NOW_MS + DAY_MS),
        entry("acme", 20, at_ms=NOW_MS),
    ]
    world.settle(*(record(("sc-1", "e1"), number, each) for number, each in enumerate(late, 1)))
    totals = {row.window_start_ms: row.total for row in world.rows(usage_total)}
    assert totals[NOW_MS + DAY_MS] == cost(20)
    assert totals[NOW_MS] == cost(40) - cost(20)


def test_money_is_not_recorded_by_sidecars(world: Leased) -> None:
    settled = world.settle(record(("sc-1", "e1"), 1, entry("acme", 5, feature="spend")))
    assert [reason.value for reason in settled.set_aside] == ["feature_not_metered"]
    too_fine = entry("acme", 5, spent=(("spend", -1),))
    settled = world.settle(record(("sc-1", "e1"), 2, too_fine))
    assert [reason.value for reason in settled.set_aside] == ["invalid_record"]


def test_without_spend_meters_nothing_is_priced(database_url: str) -> None:
    database = Database(database_url)
    database.migrate()
    made = Leased(database, CATALOG)
    made.create("acme")
    made.settle(record(("sc-1", "e1"), 1, entry("acme", 5)))
    assert made.rows(priced_usage) == []
    database.close()
