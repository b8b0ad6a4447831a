"""Customers that come by the default plan: made with their first settled usage."""

from __future__ import annotations

import pytest
from metered import CATALOG, NOW_MS, Metered, entry, record

from control_plane import provisioning
from control_plane.metering.ingest import AHEAD_MS_MAX
from control_plane.provisioning.loading import CustomerRecord
from weighbridge.rules.catalog import CustomerStatus, Migration
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.errors import AlreadyExistsError, FailedPreconditionError, NotFoundError
from weighbridge.rules.granting import Grant, grant_of
from weighbridge.rules.unprovisioned import unprovisioned_customer

MONTH = "calendar:month:UTC"
DEFAULT = "catalog: api\ndefault_plan: free\n"
WITH_DEFAULT = CATALOG.replace("catalog: api\n", DEFAULT).replace(
    "      api.calls: {limits: [{limit: 100, window: month}]}\n",
    "      api.calls:\n"
    "        limits: [{limit: 100, window: month},"
    " {id: own, limit: 50, window: {anniversary: month}}]\n",
)


@pytest.fixture
def open_to_all(metered: Metered) -> Metered:
    metered.apply(WITH_DEFAULT)
    return metered


def found(metered: Metered, customer: str) -> CustomerRecord:
    with metered.database.reading() as connection:
        return provisioning.get_customer(connection, customer)


def test_the_first_usage_makes_the_customer(open_to_all: Metered) -> None:
    with open_to_all.database.reading() as connection:
        before = provisioning.current_revision(connection)
    settled = open_to_all.settle(record(1, entry("new-1", amount=3), entry("new-2"), entry("acme")))

    assert (settled.events, settled.customers_created) == (3, ["new-1", "new-2"])
    made = [found(open_to_all, name) for name in ("new-1", "new-2")]
    assert [each.customer.version for each in made] == [before + 1, before + 2]
    assert {(each.name, each.customer.status, each.created_at_ms) for each in made} == {
        ("", CustomerStatus.ACTIVE, NOW_MS)
    }
    assert open_to_all.totals("new-1")["", "api.calls", MONTH] == 3
    again = open_to_all.settle(record(2, entry("new-1", amount=4)))
    assert again.customers_created == []
    assert open_to_all.totals("new-1")["", "api.calls", MONTH] == 7
    with open_to_all.database.reading() as connection:
        changed = provisioning.customers_changed_since(connection, before, 10)
    assert [customer.id for customer in changed] == ["new-1", "new-2"]


def test_windows_are_those_that_a_sidecar_counted_in(open_to_all: Metered) -> None:
    with open_to_all.database.reading() as connection:
        catalog = open_to_all.library.load(connection, "api")
    compiler = PlanCompiler(catalog)
    stand_in = grant_of(compiler, unprovisioned_customer(catalog, "new", 1), "", NOW_MS)
    open_to_all.settle(record(1, entry("new", occurred_at_ms=NOW_MS - 1_000)))
    made = grant_of(compiler, found(open_to_all, "new").customer, "", NOW_MS)
    assert isinstance(stand_in, Grant)
    assert isinstance(made, Grant)
    assert made.entitlements is stand_in.entitlements
    assert made.subscription.anchor_ms == stand_in.subscription.anchor_ms
    assert set(open_to_all.totals("new").values()) == {1}


@pytest.mark.parametrize(
    "changes",
    [
        {"resource": "ws-1"},
        {"feature": "unheard-of"},
        {"feature": "sso"},
        {"amount": -1},
        {"occurred_at_ms": NOW_MS + AHEAD_MS_MAX + 1},
    ],
    ids=str,
)
def test_usage_that_cannot_be_applied_makes_nobody(
    open_to_all: Metered, changes: dict[str, object]
) -> None:
    settled = open_to_all.settle(record(1, entry("new", **changes)))
    assert (settled.events, settled.customers_created) == (0, [])
    with pytest.raises(NotFoundError):
        found(open_to_all, "new")
    sound = open_to_all.settle(record(2, entry("new", **changes), entry("new")))
    assert (sound.events, sound.customers_created) == (1, ["new"])


def test_what_is_no_id_is_set_aside(open_to_all: Metered) -> None:
    settled = open_to_all.settle(record(1, entry("no id")))
    assert settled.customers_created == []
    assert open_to_all.set_aside() == ["invalid_record"]


def test_without_a_default_plan_nobody_is_made_and_those_made_stay(open_to_all: Metered) -> None:
    open_to_all.settle(record(1, entry("new")))
    open_to_all.apply(WITH_DEFAULT.replace("default_plan: free\n", ""))
    settled = open_to_all.settle(record(2, entry("new"), entry("newer")))
    assert (settled.events, settled.customers_created) == (1, [])
    assert open_to_all.set_aside() == ["customer_unknown"]


def test_who_came_by_itself_exists(open_to_all: Metered) -> None:
    open_to_all.settle(record(1, entry("new")))
    with pytest.raises(AlreadyExistsError):
        open_to_all.create("new", "pro")
    open_to_all.subscribe("new", "pro")
    assert found(open_to_all, "new").customer.subscriptions[-1].plan == "pro"
    assert open_to_all.totals("new")["", "api.calls", MONTH] == 1


def test_who_is_archived_stays_so(open_to_all: Metered) -> None:
    with open_to_all.database.writing() as connection:
        provisioning.set_customer_status(connection, "beta", CustomerStatus.ARCHIVED, NOW_MS)
    open_to_all.settle(record(1, entry("beta")))
    assert found(open_to_all, "beta").customer.status is CustomerStatus.ARCHIVED


def test_whoever_comes_gets_the_newest_version(open_to_all: Metered) -> None:
    raised = WITH_DEFAULT.replace("limit: 100", "limit: 200")
    with open_to_all.database.writing() as connection:
        provisioning.apply_catalog(
            connection,
            open_to_all.library,
            provisioning.CatalogSource(raised),
            None,
            NOW_MS + 1,
            provisioning.MigrationChoice(Migration.NEW_CUSTOMERS),
        )
        catalog = open_to_all.library.load(connection, "api")
    stand_in = grant_of(
        PlanCompiler(catalog), unprovisioned_customer(catalog, "new", 1), "", NOW_MS
    )
    assert isinstance(stand_in, Grant)
    assert stand_in.plan.version == 3
    open_to_all.now_ms += 2
    open_to_all.settle(record(1, entry("new")))
    made = grant_of(
        PlanCompiler(catalog), found(open_to_all, "new").customer, "", open_to_all.now_ms
    )
    assert isinstance(made, Grant)
    assert made.plan.version == 3


def test_one_catalog_has_a_default_plan(open_to_all: Metered) -> None:
    other = WITH_DEFAULT.replace("catalog: api", "catalog: other")
    with pytest.raises(FailedPreconditionError, match="catalog 'api' has the default plan 'free'"):
        open_to_all.apply(other)
    open_to_all.apply(other.replace("default_plan: free\n", ""))
    open_to_all.apply(WITH_DEFAULT.replace("default_plan: free\n", ""))
    open_to_all.apply(other)
    assert open_to_all.settle(record(1, entry("new"))).customers_created == ["new"]
    assert found(open_to_all, "new").customer.catalog == "other"
