"""Customers, resources and subscriptions: every change is a version, every mistake an error."""

from __future__ import annotations

import pytest
from provisioned import CATALOG, NOW_MS, Environment
from sqlalchemy import event

from control_plane import provisioning
from control_plane.provisioning import NewCustomer, WantedSubscription
from control_plane.provisioning.checks import RESOURCES_MAX
from control_plane.provisioning.customers import CustomerPage
from weighbridge.rules.catalog import (
    Customer,
    CustomerStatus,
    SubscribedAddOn,
    Subscription,
    SubscriptionStatus,
)
from weighbridge.rules.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)

MEGABYTE = "x" * 2**20


@pytest.fixture(autouse=True)
def _catalog(environment: Environment) -> None:
    environment.apply()


def subscribe(environment: Environment, wanted: WantedSubscription) -> Customer:
    with environment.database.writing() as connection:
        record = provisioning.set_subscription(
            connection, environment.library, wanted, environment.now_ms
        )
    return record.customer


def set_status(environment: Environment, customer_id: str, status: CustomerStatus) -> Customer:
    with environment.database.writing() as connection:
        return provisioning.set_customer_status(
            connection, customer_id, status, environment.now_ms
        ).customer


def page(environment: Environment, size: int = 0, token: str = "") -> CustomerPage:
    with environment.database.reading() as connection:
        return provisioning.list_customers(connection, size, token)


def active(customer: Customer, resource: str = "") -> Subscription:
    [found] = [s for s in customer.subscriptions if s.resource == resource]
    assert found.status is SubscriptionStatus.ACTIVE
    return found


def test_a_new_customer(environment: Environment) -> None:
    record = environment.create("acme", "free", ("b", "a"))

    customer = record.customer
    assert (record.name, record.created_at_ms) == ("Customer acme", NOW_MS)
    assert (customer.catalog, customer.catalog_version_min) == ("api", 1)
    assert customer.status is CustomerStatus.ACTIVE
    assert customer.resources == ("a", "b")
    assert customer.version == environment.revision()
    subscription = active(customer)
    assert (subscription.plan, subscription.plan_version) == ("free", None)
    assert subscription.anchor_ms == subscription.starts_at_ms == NOW_MS


@pytest.mark.parametrize(
    ("new", "problem"),
    [
        (NewCustomer(""), "id: is empty"),
        (NewCustomer("two words"), "id: is not an id"),
        (NewCustomer(MEGABYTE), "id: is not an id (1048576 characters)"),
        (NewCustomer("a", MEGABYTE), "name: has 1048576 characters; at most 256"),
        (NewCustomer("a", catalog="?"), "catalog: is not an id"),
        (NewCustomer("a", plan=MEGABYTE), "plan: is not an id"),
        (NewCustomer("a", resources=("",)), "resources[0]: is empty"),
        (NewCustomer("a", resources=("r", "r")), "resources: names 'r' twice"),
        (NewCustomer("a", resources=("r",) * 1001), "resources: has 1001 items; at most 1000"),
    ],
)
def test_a_bad_new_customer_names_the_field(
    environment: Environment, new: NewCustomer, problem: str
) -> None:
    before = environment.revision()
    with (
        pytest.raises(InvalidArgumentError) as caught,
        environment.database.writing() as connection,
    ):
        provisioning.create_customer(connection, environment.library, new, NOW_MS)

    assert str(caught.value).startswith(problem)
    assert len(str(caught.value)) < 300
    assert environment.revision() == before
    assert page(environment).records == ()


def test_an_id_is_taken_once(environment: Environment) -> None:
    environment.create("acme")
    with pytest.raises(AlreadyExistsError, match="customer 'acme' already exists"):
        environment.create("acme")


def test_a_plan_that_is_not_there_makes_no_customer(environment: Environment) -> None:
    with pytest.raises(
        NotFoundError, match="plan 'gold' is not in catalog 'api'; it has free, pro"
    ):
        environment.create("acme", "gold")
    assert page(environment).records == ()


def test_which_catalog(environment: Environment) -> None:
    environment.apply(CATALOG.replace("catalog: api", "catalog: other"))
    with pytest.raises(InvalidArgumentError, match=r"catalog: is empty, .* name one of api, other"):
        environment.create("acme")
    new = NewCustomer("acme", catalog="no")
    with environment.database.writing() as connection, pytest.raises(NotFoundError, match="'no'"):
        provisioning.create_customer(connection, environment.library, new, NOW_MS)
    with environment.database.writing() as connection:
        new = NewCustomer("acme", catalog="other")
        provisioning.create_customer(connection, environment.library, new, NOW_MS)

    assert environment.customer("acme").catalog == "other"


def test_pages(environment: Environment) -> None:
    for number in range(7):
        environment.create(f"c{number}")

    first = page(environment, 3)
    second = page(environment, 3, first.next_page_token)
    third = page(environment, 3, second.next_page_token)
    ids = [[record.customer.id for record in each.records] for each in (first, second, third)]
    assert ids == [["c0", "c1", "c2"], ["c3", "c4", "c5"], ["c6"]]
    assert third.next_page_token == ""
    assert page(environment, 7).next_page_token == ""
    for size in (-1, 1001):
        with pytest.raises(InvalidArgumentError, match="page_size"):
            page(environment, size)
    with pytest.raises(InvalidArgumentError, match="page_token"):
        page(environment, 1, "not an id")


def test_status(environment: Environment) -> None:
    created = environment.create("acme").customer
    archived = set_status(environment, "acme", CustomerStatus.ARCHIVED)
    assert archived.status is CustomerStatus.ARCHIVED
    assert archived.version > created.version
    assert set_status(environment, "acme", CustomerStatus.ARCHIVED).version == archived.version

    revoked = set_status(environment, "acme", CustomerStatus.REVOKED)
    with pytest.raises(FailedPreconditionError, match="'acme' is revoked; set it active"):
        set_status(environment, "acme", CustomerStatus.ARCHIVED)
    revived = set_status(environment, "acme", CustomerStatus.ACTIVE)
    assert archived.version < revoked.version < revived.version == environment.revision()
    with pytest.raises(NotFoundError, match="customer 'nobody' does not exist"):
        set_status(environment, "nobody", CustomerStatus.ACTIVE)


def test_resources(environment: Environment) -> None:
    environment.create("acme", resources=tuple(f"r{n}" for n in range(RESOURCES_MAX - 1)))

    def create(customer: str, resource: str) -> Customer:
        with environment.database.writing() as connection:
            return provisioning.create_resource(connection, customer, resource, NOW_MS).customer

    customer = create("acme", "last")
    assert "last" in customer.resources
    assert customer.version == environment.revision()
    with pytest.raises(AlreadyExistsError, match="resource 'last' of customer 'acme'"):
        create("acme", "last")
    with pytest.raises(FailedPreconditionError, match="at most 1000"):
        create("acme", "one.more")
    with pytest.raises(NotFoundError, match="customer 'nobody'"):
        create("nobody", "r")
    with pytest.raises(InvalidArgumentError, match="resource: is empty"):
        create("acme", "")


def test_a_plan_change_ends_the_one_before(environment: Environment) -> None:
    before = active(environment.create("acme", "free").customer)
    environment.now_ms += 1000
    add_ons = (SubscribedAddOn("calls_500", 3),)
    customer = subscribe(environment, WantedSubscription("acme", "pro", add_ons=add_ons))

    now = active(customer)
    assert (now.plan, now.add_ons) == ("pro", add_ons)
    assert now.id != before.id
    assert (now.anchor_ms, now.starts_at_ms) == (before.anchor_ms, NOW_MS + 1000)
    with environment.database.reading() as connection:
        ended = connection.exec_driver_sql(
            "SELECT id, ends_at_ms FROM subscription WHERE status = 'canceled'"
        ).all()
    assert ended == [(before.id, NOW_MS + 1000)]


def test_the_same_plan_again_changes_nothing(environment: Environment) -> None:
    environment.create("acme")
    add_ons = (SubscribedAddOn("calls_500", 3),)
    customer = subscribe(environment, WantedSubscription("acme", "pro", add_ons=add_ons))
    environment.now_ms += 1000

    wanted = WantedSubscription("acme", "pro", add_ons=add_ons)
    assert subscribe(environment, wanted) == customer
    moved = subscribe(environment, WantedSubscription("acme", "pro", add_ons=add_ons, anchor_ms=5))
    assert (active(moved).anchor_ms, moved.version) == (5, customer.version + 1)


def test_a_resource_has_a_subscription_of_its_own(environment: Environment) -> None:
    environment.create("acme", "free", ("shop",))
    customer = subscribe(environment, WantedSubscription("acme", "pro", "shop"))

    assert active(customer).plan == "free"
    assert active(customer, "shop").plan == "pro"


def test_cancelling(environment: Environment) -> None:
    environment.create("acme", "free")
    environment.now_ms += 5

    def cancel(customer: str, resource: str = "") -> Customer:
        with environment.database.writing() as connection:
            return provisioning.cancel_subscription(
                connection, customer, resource, environment.now_ms
            ).customer

    customer = cancel("acme")
    [ended] = customer.subscriptions
    assert (ended.status, ended.ends_at_ms) == (SubscriptionStatus.CANCELED, NOW_MS + 5)
    assert customer.version == environment.revision()
    with pytest.raises(NotFoundError, match="customer 'acme' has no active subscription"):
        cancel("acme")
    with pytest.raises(NotFoundError, match="customer 'acme' has no resource 'shop'"):
        cancel("acme", "shop")
    with pytest.raises(NotFoundError, match="customer 'nobody' does not exist"):
        cancel("nobody")

    again = subscribe(environment, WantedSubscription("acme", "pro"))
    assert [s.plan for s in again.subscriptions] == ["pro"]
    assert active(again).anchor_ms == NOW_MS + 5


def test_of_many_that_ended_the_last_is_shown(environment: Environment) -> None:
    environment.create("acme")
    for number in range(12):
        subscribe(environment, WantedSubscription("acme", ("free", "pro")[number % 2]))
    with environment.database.writing() as connection:
        provisioning.cancel_subscription(connection, "acme", "", NOW_MS)

    [ended] = environment.customer("acme").subscriptions
    assert ended.plan == "pro"


@pytest.mark.parametrize(
    ("wanted", "error", "problem"),
    [
        (WantedSubscription("", "pro"), InvalidArgumentError, "customer: is empty"),
        (WantedSubscription("acme", ""), InvalidArgumentError, "plan: is empty"),
        (WantedSubscription("acme", MEGABYTE), InvalidArgumentError, "plan: is not an id"),
        (WantedSubscription("acme", "pro", " "), InvalidArgumentError, "resource: is not an id"),
        (WantedSubscription("acme", "pro", "no"), NotFoundError, "customer 'acme' has no resource"),
        (WantedSubscription("nobody", "pro"), NotFoundError, "customer 'nobody' does not exist"),
        (WantedSubscription("acme", "gold"), NotFoundError, "plan 'gold' is not in catalog"),
        (
            WantedSubscription("acme", "pro", plan_version=7),
            NotFoundError,
            "plan 'pro' of catalog 'api' has no version 7",
        ),
        (
            WantedSubscription("acme", "pro", anchor_ms=-1),
            InvalidArgumentError,
            "anchor_unix_ms: -1 is negative",
        ),
        (
            WantedSubscription("acme", "pro", anchor_ms=2**62),
            InvalidArgumentError,
            "anchor_unix_ms: 4611686018427387904 is too far ahead",
        ),
        (
            WantedSubscription("acme", "pro", add_ons=(SubscribedAddOn(""),)),
            InvalidArgumentError,
            "add_ons[0].add_on: is empty",
        ),
        (
            WantedSubscription("acme", "pro", add_ons=(SubscribedAddOn("calls_500", 0),)),
            InvalidArgumentError,
            "add_ons[0].quantity: 0 is not 1 to 1000000",
        ),
        (
            WantedSubscription("acme", "pro", add_ons=(SubscribedAddOn("calls_500", -3),)),
            InvalidArgumentError,
            "add_ons[0].quantity: -3 is not 1 to 1000000",
        ),
        (
            WantedSubscription("acme", "pro", add_ons=(SubscribedAddOn("calls_500"),) * 2),
            InvalidArgumentError,
            "add_ons: names 'calls_500' twice",
        ),
        (
            WantedSubscription("acme", "pro", add_ons=(SubscribedAddOn("no"),)),
            NotFoundError,
            "add-on 'no' is not in catalog 'api'; it has calls_500",
        ),
        (
            WantedSubscription("acme", "free", add_ons=(SubscribedAddOn("calls_500"),)),
            FailedPreconditionError,
            "add-on 'calls_500' cannot be added to plan 'free', only to pro",
        ),
    ],
)
def test_a_bad_subscription_says_what_is_wrong(
    environment: Environment, wanted: WantedSubscription, error: type[Exception], problem: str
) -> None:
    created = environment.create("acme", "free").customer
    with pytest.raises(error) as caught:
        subscribe(environment, wanted)

    assert str(caught.value).startswith(problem)
    assert environment.customer("acme") == created


def test_changes_are_found_by_revision(environment: Environment) -> None:
    for name in ("a", "b", "c"):
        environment.create(name)
    start = environment.revision()
    set_status(environment, "b", CustomerStatus.ARCHIVED)
    subscribe(environment, WantedSubscription("a", "pro"))

    with environment.database.reading() as connection:
        changed = provisioning.customers_changed_since(connection, start, 10)
        first = provisioning.customers_changed_since(connection, 0, 2)
        revision = provisioning.current_revision(connection)
        none = provisioning.customers_changed_since(connection, revision, 10)
    assert [customer.id for customer in changed] == ["b", "a"]
    assert [customer.id for customer in first] == ["c", "b"]
    assert none == []


def test_queries_do_not_grow_with_customers(environment: Environment) -> None:
    for number in range(50):
        environment.create(f"c{number:02}", "pro", ("r",))
    statements: list[str] = []

    def count(*arguments: object) -> None:
        statements.append(str(arguments[2]))

    ids = [f"c{number:02}" for number in reversed(range(50))]
    with environment.database.reading() as connection:
        event.listen(connection, "before_cursor_execute", count)
        customers = provisioning.load_customers(connection, [*ids, "nobody", ids[0]])

    assert [customer.id for customer in customers] == ids
    assert all(active(customer).plan == "pro" for customer in customers)
    assert len(statements) == 5


def test_more_customers_than_one_query_takes(environment: Environment) -> None:
    rows = ", ".join(f"('c{n:04}', '', 'api', 'active', {n + 10}, 0)" for n in range(1100))
    with environment.database.writing() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO customer (id, name, catalog_id, status, version, created_at_ms) "
            f"VALUES {rows}"
        )

    with environment.database.reading() as connection:
        changed = provisioning.customers_changed_since(connection, 0, 2000)
    assert [customer.id for customer in changed] == [f"c{n:04}" for n in range(1100)]
