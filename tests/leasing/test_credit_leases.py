"""Leases of credits: what they have, the ledger has handed out, whatever happens to sidecars."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from leased import NOW_MS, TERMS, Leased, Sidecar, entry
from sqlalchemy import text

from control_plane.crediting import LedgerId, NewGrant, create_grant, open_book
from control_plane.crediting.conservation import Terms, conservation_terms
from control_plane.crediting.queries import balances
from control_plane.crediting.verifying import verify_ledgers
from control_plane.granting.work import Granted, LeaseNow, Short, Want
from control_plane.leasing.holds import HoldKey, HoldStep
from control_plane.leasing.settling import Draw
from control_plane.metering.records import CreditCharge
from control_plane.storage.database import Database
from weighbridge.rules.credits import GrantKind
from weighbridge.rules.lease import credit_pool
from weighbridge.rules.ledger import Balance

CATALOG = """
catalog: api
features:
  calls: {type: metered}
credit_types:
  ai: {costs: [{feature: calls, cost: 1}]}
plans:
  pro: {features: {calls: {credits: ai}}}
"""
ACME = LedgerId("acme", "ai")


class Credited(Leased):
    """An environment where acme has credits."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, CATALOG)
        self.create("acme")
        self.granted = 0

    def grant(self, amount: int, expires_in_ms: int | None = None, priority: int = 100) -> int:
        self.granted += 1
        expires_at_ms = None if expires_in_ms is None else self.now_ms + expires_in_ms
        new = NewGrant(
            f"g{self.granted}",
            GrantKind.PREPAID,
            amount,
            expires_at_ms=expires_at_ms,
            priority=priority,
        )
        with (
            self.database.writing() as connection,
            open_book(connection, ACME, self.now_ms) as book,
        ):
            return create_grant(book, new).number

    def lend(self, sidecar: Sidecar, units: int) -> list[LeaseNow]:
        answer = self.ask(sidecar, Want(credit_pool("acme", "ai"), units, units, 0))
        assert isinstance(answer, Granted), answer
        sidecar.learn(answer.leases)
        return [*answer.leases]

    def terms(self) -> Terms:
        assert not self.check().differences
        with self.database.reading() as connection:
            verified = verify_ledgers(connection)
            assert not verified.differences, verified.differences
            (found,) = conservation_terms(connection, "acme")
        assert found.is_conserved, found
        return found

    def balance(self) -> Balance:
        with self.database.reading() as connection:
            return balances(connection, "acme", "ai", self.now_ms)[ACME]


@pytest.fixture
def credited(database_url: str) -> Iterator[Credited]:
    database = Database(database_url)
    database.migrate()
    yield Credited(database)
    database.close()


def spend(credited: Credited, sidecar: Sidecar, draws: dict[int, int], more: int = 0) -> None:
    """Settle usage that costs what it draws, and more."""
    micro = sum(draws.values()) + more
    used = entry("acme", 1, credited.now_ms, credit=CreditCharge(ACME, micro))
    for lease, units in draws.items():
        sidecar.held[lease].drawn += units
    record = sidecar.record(used, draws=[Draw(*each) for each in draws.items()])
    sidecar.unsent.clear()
    assert not credited.settle(record).draws_refused


def test_a_balance_is_lent_in_burn_order_and_spent(credited: Credited, one: Sidecar) -> None:
    credited.grant(100)
    first = credited.grant(30, priority=1)
    leases = credited.lend(one, 50)
    assert [(each.pool.grant, each.granted) for each in leases] == [(first, 30), (1, 20)]
    assert [each.tranche and each.tranche.priority for each in leases] == [1, 100]
    assert credited.terms()[4:8] == (80, 50, 0, 0)
    spend(credited, one, {leases[0].id: 30, leases[1].id: 5})
    found = credited.terms()
    assert (found.available, found.outstanding, found.settled, found.overage) == (80, 15, 35, 0)


def test_more_than_there_is_is_refused_and_a_grant_tells_of_itself(
    credited: Credited, one: Sidecar, two: Sidecar
) -> None:
    credited.grant(10)
    (lease,) = credited.lend(one, 6)
    want = Want(credit_pool("acme", "ai"), 5, 5, 0)
    answer = credited.ask(two, want)
    assert isinstance(answer, Short)
    (shortage,) = answer.shortages
    assert (shortage.available, [each.lease for each in shortage.held]) == (4, [lease.id])
    posted = credited.post(returns=[(one.id, one.give_back(lease.id, 6))])
    assert [(gain.pool, gain.available) for gain in posted.gains] == [(want.pool, 10)]
    credited.grant(5)
    refused = (want.pool,)
    found = credited.post(is_tick=True, refused=refused)
    assert [(gain.pool, gain.available) for gain in found.gains] == [(want.pool, 15)]
    credited.terms()


def test_what_was_reported_posts_in_full_and_past_the_balance_is_overage(
    credited: Credited, one: Sidecar
) -> None:
    credited.grant(10)
    spend(credited, one, {}, more=25)
    found = credited.terms()
    assert (found.settled, found.overage, found.available) == (25, 15, 0)


def test_a_grant_expires_once_what_is_leased_of_it_is_known(
    credited: Credited, one: Sidecar
) -> None:
    credited.grant(100, expires_in_ms=1_000)
    (lease,) = credited.lend(one, 60)
    used_at_ms = credited.now_ms
    credited.now_ms += 2_000
    one.held[lease.id].drawn += 40
    late = entry("acme", 1, used_at_ms, credit=CreditCharge(ACME, 40))
    credited.settle(one.record(late, draws=[Draw(lease.id, 40)]))
    found = credited.terms()
    assert (found.settled, found.overage, found.outstanding, found.expired) == (40, 0, 20, 0)
    credited.post(returns=[(one.id, one.end(lease.id))])
    assert (credited.terms().expired, credited.terms().outstanding) == (60, 0)


def test_credits_of_a_lost_sidecar_are_suspended_then_presumed_then_known(
    credited: Credited, one: Sidecar
) -> None:
    credited.grant(100, expires_in_ms=TERMS.ttl_ms)
    (lease,) = credited.lend(one, 60)
    credited.now_ms += TERMS.ttl_ms + 1
    credited.tick()
    assert (credited.terms().suspended, credited.terms().outstanding) == (60, 0)
    credited.now_ms += TERMS.lost_after_ms + 1
    credited.tick()
    found = credited.terms()
    assert (found.suspended, found.presumed, found.expired) == (0, 60, 40)
    late = entry("acme", 1, NOW_MS, credit=CreditCharge(ACME, 25))
    one.held[lease.id].drawn += 25
    credited.settle(one.record(late, draws=[Draw(lease.id, 25)]))
    found = credited.terms()
    assert (found.settled, found.presumed, found.overage) == (25, 35, 0)
    one.restart()
    credited.post(claims=[one.claim()])
    found = credited.terms()
    assert (found.settled, found.presumed, found.expired) == (25, 0, 75)


def test_a_hold_keeps_its_credits_until_it_is_settled(credited: Credited, one: Sidecar) -> None:
    credited.grant(100)
    (lease,) = credited.lend(one, 50)
    key = HoldKey(one.name, "acme", "r1")
    opened = one.record(draws=[Draw(lease.id, 30)])._replace(
        holds=(HoldStep(key, ((lease.id, 30),), NOW_MS + 1_000),)
    )
    credited.settle(opened)
    assert credited.terms().outstanding == 50
    used = entry("acme", 1, NOW_MS, credit=CreditCharge(ACME, 12))
    closed = one.record(used, draws=[Draw(lease.id, -18)])._replace(holds=(HoldStep(key, ()),))
    credited.settle(closed)
    found = credited.terms()
    assert (found.outstanding, found.settled, found.available) == (38, 12, 50)
    one.restart()
    credited.post(claims=[one.claim()])
    assert credited.terms().available == 88


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE credit_tranche SET amount = amount + 1",
        "UPDATE credit_tranche SET amount = amount - 1",
        "UPDATE lease SET granted = granted + 1",
        "UPDATE lease SET drawn = drawn + 1",
        "UPDATE lease SET presumed = presumed + 1",
    ],
)
def test_one_unit_of_what_is_leased_is_named(
    credited: Credited, one: Sidecar, statement: str
) -> None:
    credited.grant(100)
    credited.lend(one, 50)
    credited.terms()
    with credited.database.writing() as connection:
        connection.execute(text(statement))
    with credited.database.reading() as connection:
        (found,) = conservation_terms(connection, "acme")
        assert not found.is_conserved
        assert verify_ledgers(connection).differences


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_to_sidecars_nothing_is_lost_or_doubled(
    credited: Credited, seed: int
) -> None:
    """Sidecars lend, spend, give back, stay away and come again, while grants come and expire."""
    random = Random(seed)
    sidecars = [Sidecar(f"sc-{index}", "acme") for index in range(3)]
    answered = 0
    credited.grant(500)
    for _ in range(60):
        sidecar = random.choice(sidecars)
        lease = random.choice([*sidecar.held, 0])
        match random.randrange(7):
            case 0:
                credited.grant(random.randint(1, 300), random.choice([None, 5_000, 90_000]))
            case 1 | 2:
                least = random.randint(1, 40)
                want = Want(credit_pool("acme", "ai"), least, least + 20, 0)
                answer = credited.ask(sidecar, want)
                if isinstance(answer, Granted):
                    sidecar.learn(answer.leases)
            case 3 if lease and sidecar.held[lease].rest:
                units = random.randint(1, sidecar.held[lease].rest)
                spend(credited, sidecar, {lease: units})
                answered += units
            case 4 if lease:
                credited.post(returns=[(sidecar.id, sidecar.end(lease))])
            case 5:
                sidecar.restart()
                credited.post(claims=[sidecar.claim(may_have_lost=random.random() < 0.3)])
            case _:
                credited.now_ms += random.choice([1_000, 30_000, 700_000])
                credited.tick()
                alive = [each for each in sidecars if random.random() < 0.5]
                credited.post(renewed={each.id for each in alive})
        found = credited.terms()
        assert found.overage == 0
        assert found.settled == answered
        assert answered <= found.granted
    assert credited.balance().settled == answered
