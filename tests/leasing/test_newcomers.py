"""Customers that nobody provisioned are made by the transaction that first leases to them."""

from __future__ import annotations

import pytest
from leased import CATALOG, NOW_MS, Leased, Sidecar, entry, want
from sqlalchemy import Connection

from control_plane import provisioning
from control_plane.granting.work import Asking, Granted, LeaseWork, Short
from control_plane.provisioning import CatalogSource

OPEN = CATALOG.replace("catalog: api\n", "catalog: api\ndefault_plan: pro\n")


@pytest.fixture
def open_to_all(leased: Leased) -> Leased:
    with leased.database.writing() as connection:
        source = CatalogSource(OPEN, "catalog.yaml")
        provisioning.apply_catalog(connection, leased.library, source, None, leased.now_ms)
    return leased


def exists(leased: Leased, customer: str) -> bool:
    with leased.database.reading() as connection:
        return bool(provisioning.load_customers(connection, [customer]))


def test_a_lease_makes_the_customer_once(open_to_all: Leased) -> None:
    one, two = Sidecar("one", "new"), Sidecar("two", "new")
    askings = [Asking(each.id, (want("new", 60, limit=100),)) for each in (one, two)]

    posted = open_to_all.post(askings=askings)

    first, second = posted.answers
    assert isinstance(first, Granted)
    assert [lease.granted for lease in first.leases] == [60]
    assert isinstance(second, Short), "both share one limit"
    assert posted.customers_created == ["new"]
    assert exists(open_to_all, "new")
    again = open_to_all.post(askings=[Asking(two.id, (want("new", 40, limit=100),))])
    assert isinstance(again.answers[0], Granted)
    assert again.customers_created == []
    assert not open_to_all.check().differences


def test_usage_that_came_first_has_made_it_already(open_to_all: Leased) -> None:
    sidecar = Sidecar("one", "new")
    settled = open_to_all.settle(sidecar.record(entry("new", 70, NOW_MS)))
    assert settled.customers_created == ["new"]

    posted = open_to_all.post(askings=[Asking(sidecar.id, (want("new", 31, limit=100),))])

    assert isinstance(posted.answers[0], Short)
    assert posted.customers_created == []


@pytest.mark.parametrize(
    "asked",
    [
        want("new", 101, limit=101),
        want("new", 5, limit=4),
        # A refill is for calls that were admitted, so its customer is there.
        want("new", 0, 10, limit=100),
        want("new", 1, limit=100)._replace(pool=want("new", 1).pool._replace(feature="none")),
        want("new", 1, limit=100)._replace(pool=want("new", 1).pool._replace(resource="none")),
        want("new", 1, limit=100)._replace(pool=want("new", 1).pool._replace(window_start_ms=5)),
    ],
)
def test_who_asks_for_what_the_plan_lacks_makes_nobody(open_to_all: Leased, asked: object) -> None:
    posted = open_to_all.post(askings=[Asking(("one", "e1"), (asked,))])

    assert isinstance(posted.answers[0], Short)
    assert posted.customers_created == []
    assert not exists(open_to_all, "new")


def test_without_a_default_plan_nobody_is_made(leased: Leased) -> None:
    posted = leased.post(askings=[Asking(("one", "e1"), (want("new", 1, limit=100),))])

    assert isinstance(posted.answers[0], Short)
    assert not exists(leased, "new")


def test_a_transaction_that_fails_makes_nobody(open_to_all: Leased) -> None:
    work = LeaseWork(askings=[Asking(("one", "e1"), (want("new", 1, limit=100),))])

    def fail(connection: Connection) -> None:
        open_to_all.granter.post(connection, work, open_to_all.cache, NOW_MS)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), open_to_all.database.writing() as connection:
        fail(connection)
    # As the queue does.
    open_to_all.cache.clear()

    assert not exists(open_to_all, "new")
    assert open_to_all.post(askings=work.askings).customers_created == ["new"]
