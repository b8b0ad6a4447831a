"""Customers under others: who may be, and what that changes."""

from __future__ import annotations

import pytest
from admin_server import AdminServer
from provisioned import CATALOG, Environment

from control_plane import provisioning
from control_plane.provisioning import NewCustomer, WantedEntitlement, WantedLimit, WantedOverride
from weighbridge.rules.catalog import Customer, LimitKind
from weighbridge.rules.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from weighbridge.rules.granting import LEVELS_MAX
from weighbridge.v1 import admin_service_pb2 as pb


@pytest.fixture(autouse=True)
def _catalog(environment: Environment) -> None:
    environment.apply()


def create(environment: Environment, new: NewCustomer) -> Customer:
    with environment.database.writing() as connection:
        return provisioning.create_customer(
            connection, environment.library, new, environment.now_ms
        ).customer


def test_a_hierarchy_has_at_most_eight_levels(environment: Environment) -> None:
    parent = ""
    for level in range(LEVELS_MAX):
        name = f"level-{level}"
        assert create(environment, NewCustomer(name, parent=parent)).parent == parent
        parent = name
    with pytest.raises(FailedPreconditionError, match="8 levels deep; a hierarchy has at most 8"):
        create(environment, NewCustomer("too-deep", parent=parent))
    assert environment.customer("level-7").parent == "level-6"


def test_a_parent_has_to_exist_and_to_be_in_the_catalog(environment: Environment) -> None:
    environment.apply(CATALOG.replace("catalog: api", "catalog: other"))
    create(environment, NewCustomer("acme", catalog="api"))
    with pytest.raises(NotFoundError, match="parent 'nobody' does not exist; make"):
        create(environment, NewCustomer("ann", parent="nobody"))
    with pytest.raises(InvalidArgumentError, match="'acme' is in catalog 'api', and the customer"):
        create(environment, NewCustomer("ann", catalog="other", parent="acme"))
    with pytest.raises(NotFoundError, match="parent 'ann'"):
        create(environment, NewCustomer("ann", parent="ann"))
    # There are two catalogs; it is its parent's.
    assert create(environment, NewCustomer("ann", parent="acme")).catalog == "api"


def test_an_override_takes_what_it_leaves_out_from_the_plan_above(
    environment: Environment,
) -> None:
    environment.create("acme", "free")
    create(environment, NewCustomer("team", parent="acme"))
    create(environment, NewCustomer("ann", parent="team"))
    wanted = WantedOverride(
        "ann", WantedEntitlement("api.calls", limits=(WantedLimit("month", 10),))
    )
    with environment.database.writing() as connection:
        record = provisioning.set_override(
            connection, environment.library, wanted, environment.now_ms
        )
    (limit,) = record.customer.overrides[0].entitlement.limits
    assert (limit.limit, limit.kind, limit.window.key) == (
        10,
        LimitKind.HARD,
        "calendar:month:UTC",
    )


def test_a_change_of_a_plan_affects_all_below_its_subscribers(environment: Environment) -> None:
    environment.create("acme", "free")
    environment.create("beta", "pro")
    create(environment, NewCustomer("team", parent="acme"))
    create(environment, NewCustomer("ann", "", "", (), "pro", "team"))
    changed = environment.apply(CATALOG.replace("limit: 100,", "limit: 50,"))
    assert changed.affected.sample == ("acme", "ann", "team")
    changed = environment.apply(CATALOG.replace("limit: 100,", "limit: 50,").replace("1000", "999"))
    assert changed.affected.sample == ("ann", "beta")


async def test_parents_are_told_and_listed_by(server: AdminServer) -> None:
    async with server.stub() as admin:
        for name, parent in (("acme", ""), ("team", "acme"), ("ann", "team"), ("bob", "team")):
            request = pb.CreateCustomerRequest(id=name, parent=parent)
            made = (await admin.CreateCustomer(request)).customer
            assert made.parent == parent
        listed = await admin.ListCustomers(pb.ListCustomersRequest(parent="team"))
        assert [customer.id for customer in listed.customers] == ["ann", "bob"]
        listed = await admin.ListCustomers(pb.ListCustomersRequest(parent="ann"))
        assert list(listed.customers) == []
