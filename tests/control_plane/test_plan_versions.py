"""Plan versions: migrations, one subscription by hand, history and rollback."""

from __future__ import annotations

import pytest
from provisioned import CATALOG, Applied, Environment

from control_plane import provisioning
from control_plane.catalog import ChangeKind
from control_plane.provisioning import (
    CatalogSource,
    MigrationChoice,
    Rollback,
    WantedSubscription,
)
from weighbridge.rules.catalog import Catalog, Migration, SubscribedAddOn
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.errors import (
    ConflictError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from weighbridge.rules.granting import Grant, grant_of
from weighbridge.rules.lifecycle import period_end_ms

DAY_MS = 86_400_000
NEVER = MigrationChoice(Migration.NEW_CUSTOMERS)
LATER = MigrationChoice(Migration.AT_PERIOD_END)


def raised(limit: int) -> str:
    return CATALOG.replace("limit: 1000", f"limit: {limit}")


def apply(environment: Environment, text: str, choice: MigrationChoice | None = None) -> Applied:
    environment.now_ms += 1
    source = CatalogSource(text, "c.yaml")
    migrations = choice or MigrationChoice()
    return environment.applied(
        lambda connection: provisioning.apply_catalog(
            connection, environment.library, source, None, environment.now_ms, migrations
        )
    )


def load(environment: Environment) -> Catalog:
    with environment.database.reading() as connection:
        return environment.library.load(connection, "api")


def pin(environment: Environment, customer: str, version: int | None = None) -> None:
    with environment.database.writing() as connection:
        provisioning.pin_subscription(
            connection, environment.library, (customer, ""), version, environment.now_ms
        )


def follow(environment: Environment, customer: str) -> None:
    environment.now_ms += 1
    with environment.database.writing() as connection:
        provisioning.follow_plan(
            connection, environment.library, (customer, ""), environment.now_ms
        )


def subscribe(environment: Environment, wanted: WantedSubscription) -> None:
    environment.now_ms += 1
    with environment.database.writing() as connection:
        provisioning.set_subscription(connection, environment.library, wanted, environment.now_ms)


def rollback(environment: Environment, wanted: Rollback) -> Applied:
    environment.now_ms += 1
    return environment.applied(
        lambda connection: provisioning.rollback_catalog(
            connection, environment.library, wanted, environment.now_ms
        )
    )


def limit_of(environment: Environment, customer: str, at_ms: int | None = None) -> int | None:
    """Return the monthly limit as a sidecar works it out from what it gets."""
    grant = grant_of(
        PlanCompiler(load(environment)),
        environment.customer(customer),
        "",
        environment.now_ms if at_ms is None else at_ms,
    )
    assert isinstance(grant, Grant)
    return grant.entitlements["api.calls"].limits[0].limit


def test_new_customers_only(environment: Environment) -> None:
    environment.apply()
    environment.create("old", "pro")
    customer = environment.customer("old")
    applied = apply(environment, raised(2000), NEVER)
    assert applied.affected.count == 0
    environment.create("new", "pro")
    assert (limit_of(environment, "old"), limit_of(environment, "new")) == (1000, 2000)
    assert environment.customer("old").version == customer.version, "no message of its own"

    # A later version moves the one who came later, and leaves behind who was left behind.
    assert apply(environment, raised(3000)).affected.sample == ("new",)
    assert (limit_of(environment, "old"), limit_of(environment, "new")) == (1000, 3000)
    environment.now_ms += 400 * DAY_MS
    assert limit_of(environment, "old") == 1000


def test_at_period_end_they_move_by_themselves(environment: Environment) -> None:
    environment.apply()
    environment.create("old", "pro")
    began_ms = environment.now_ms
    environment.now_ms += 3 * DAY_MS
    assert apply(environment, raised(2000), LATER).affected.sample == ("old",)
    environment.create("new", "pro")
    ends_ms = period_end_ms(began_ms, environment.now_ms)
    assert (limit_of(environment, "old"), limit_of(environment, "new")) == (1000, 2000)
    assert limit_of(environment, "old", ends_ms - 1) == 1000
    assert limit_of(environment, "old", ends_ms) == 2000
    # By the next apply, a month later, nothing is left of it.
    environment.now_ms += 32 * DAY_MS
    apply(environment, raised(3000))
    assert list(load(environment).plans["pro"]) == [3]
    assert load(environment).steps == {}


def test_each_plan_its_own_migration(environment: Environment) -> None:
    environment.apply()
    environment.create("a", "free")
    environment.create("b", "pro")
    both = raised(2000).replace("limit: 100,", "limit: 200,")
    apply(environment, both, MigrationChoice(of_plans={"free": Migration.NEW_CUSTOMERS}))
    assert (limit_of(environment, "a"), limit_of(environment, "b")) == (100, 2000)


def test_nothing_is_kept_for_nobody(environment: Environment) -> None:
    environment.apply()
    environment.create("old", "pro")
    apply(environment, raised(2000), NEVER)
    assert sorted(load(environment).plans["pro"]) == [1, 2]
    subscribe(environment, WantedSubscription("old", "free"))
    apply(environment, raised(3000))
    assert sorted(load(environment).plans["pro"]) == [3]


def test_add_ons_and_anchors_change_no_version(environment: Environment) -> None:
    environment.apply()
    environment.create("old", "pro")
    apply(environment, raised(2000), NEVER)
    add_ons = (SubscribedAddOn("calls_500"),)
    subscribe(environment, WantedSubscription("old", "pro", add_ons=add_ons))
    assert limit_of(environment, "old") == 1500
    subscribe(environment, WantedSubscription("old", "free"))
    subscribe(environment, WantedSubscription("old", "pro"))
    assert limit_of(environment, "old") == 2000


@pytest.mark.parametrize(
    ("plan", "error", "message"),
    [
        ("pro", FailedPreconditionError, "nobody follows plan 'pro'"),
        ("free", FailedPreconditionError, "plan 'free' does not change"),
        ("gold", NotFoundError, "plan 'gold' is not in catalog 'api'; it has free, pro"),
    ],
)
def test_a_migration_of_a_plan_that_has_nobody_to_move(
    environment: Environment, plan: str, error: type[Exception], message: str
) -> None:
    environment.apply()
    environment.create("a", "free")
    with pytest.raises(error, match=message):
        apply(environment, raised(2000), MigrationChoice(of_plans={plan: Migration.NOW}))
    assert load(environment).version == 1


def test_pin_and_follow(environment: Environment) -> None:
    environment.apply()
    environment.create("a", "pro")
    environment.create("b", "pro")
    pin(environment, "a")
    version = environment.customer("a").version
    pin(environment, "a", 1)
    assert environment.customer("a").version == version, "already so"
    apply(environment, raised(2000))
    apply(environment, raised(3000))
    assert (limit_of(environment, "a"), limit_of(environment, "b")) == (1000, 3000)

    edition = load(environment).edition
    pin(environment, "b", 2)
    assert load(environment).edition > edition, "sidecars have to hear of version 2"
    assert environment.customer("b").edition_min == load(environment).edition
    assert limit_of(environment, "b") == 2000
    edition = load(environment).edition
    pin(environment, "a", 2)
    assert load(environment).edition == edition, "they have it already"

    follow(environment, "a")
    assert limit_of(environment, "a") == 3000
    version = environment.customer("a").version
    follow(environment, "a")
    assert environment.customer("a").version == version


def test_follow_moves_who_was_left_behind(environment: Environment) -> None:
    environment.apply()
    environment.create("a", "pro")
    apply(environment, raised(2000), NEVER)
    assert limit_of(environment, "a") == 1000
    follow(environment, "a")
    assert limit_of(environment, "a") == 2000


def test_pins_that_are_refused(environment: Environment) -> None:
    environment.apply()
    environment.create("a", "pro")
    environment.create("nobody")
    without_sso = CATALOG.replace("      sso: true\n", "").replace("  sso: {type: boolean}\n", "")
    with pytest.raises(NotFoundError, match="has no version 7"):
        pin(environment, "a", 7)
    with pytest.raises(InvalidArgumentError, match="plan_version: 0 is not a version"):
        pin(environment, "a", 0)
    with pytest.raises(NotFoundError, match="customer 'nobody' has no active subscription"):
        pin(environment, "nobody")
    apply(environment, CATALOG.replace("      sso: true\n", ""))
    apply(environment, without_sso)
    with pytest.raises(FailedPreconditionError, match="grants feature 'sso'"):
        pin(environment, "a", 1)


def test_history_and_rollback(environment: Environment) -> None:
    environment.apply()
    environment.create("a", "pro")
    apply(environment, raised(2000))
    rolled = rollback(environment, Rollback("api", 1, 2))
    assert (rolled.version, rolled.affected.sample) == (3, ("a",))
    assert limit_of(environment, "a") == 1000
    assert rollback(environment, Rollback("api", 1)).changes == ()

    with environment.database.reading() as connection:
        first = provisioning.list_catalog_versions(connection, "api", 2)
        rest = provisioning.list_catalog_versions(connection, "api", 2, first.next_page_token)
    assert [(v.version, v.restores) for v in first.versions] == [(3, 1), (2, None)]
    assert [(plan, step.version) for plan, step in first.versions[0].made] == [("pro", 3)]
    assert [plan for plan, _ in rest.versions[0].made] == ["free", "pro"]
    assert rest.next_page_token == ""


def test_history_says_what_each_version_changed(environment: Environment) -> None:
    environment.apply()
    apply(environment, raised(2000))
    with environment.database.reading() as connection:
        page = provisioning.list_catalog_versions(connection, "api", 0, "", environment.library)
        with pytest.raises(InvalidArgumentError, match="page_size: 101 is not 0 to 100"):
            provisioning.list_catalog_versions(connection, "api", 101, "", environment.library)
    second, first = page.versions
    assert [(change.path, change.after) for change in second.changes] == [
        ("plans.pro.features.api.calls.limits.month.limit", "2000")
    ]
    assert {change.kind for change in first.changes} == {ChangeKind.ADDED}


def test_a_rollback_can_leave_customers_where_they_are(environment: Environment) -> None:
    environment.apply()
    environment.create("a", "pro")
    apply(environment, raised(2000))
    rollback(environment, Rollback("api", 1, migrations=NEVER))
    assert limit_of(environment, "a") == 2000


def test_rollbacks_that_are_refused(environment: Environment) -> None:
    without_sso = CATALOG.replace("      sso: true\n", "").replace("  sso: {type: boolean}\n", "")
    environment.apply(without_sso)
    environment.apply(CATALOG)
    environment.create("a", "pro")
    environment.apply(CATALOG.replace("      sso: true\n", ""))
    with pytest.raises(ConflictError, match="is at version 3 now, not 2"):
        rollback(environment, Rollback("api", 1, 2))
    with pytest.raises(NotFoundError, match="has no version 9"):
        rollback(environment, Rollback("api", 9))
    with pytest.raises(InvalidArgumentError, match="version: 0 is not a version"):
        rollback(environment, Rollback("api", 0))
    with pytest.raises(NotFoundError, match="catalog 'none' does not exist"):
        rollback(environment, Rollback("none", 1))
    with (
        environment.database.reading() as connection,
        pytest.raises(InvalidArgumentError, match="page_token: 'x'"),
    ):
        provisioning.list_catalog_versions(connection, "api", 0, "x")
    pin(environment, "a", 2)
    with pytest.raises(FailedPreconditionError, match="they keep version 2 of plan 'pro'"):
        rollback(environment, Rollback("api", 1))


def test_a_rollback_past_a_feature_that_a_customer_has_by_override(
    environment: Environment,
) -> None:
    without_sso = CATALOG.replace("      sso: true\n", "").replace("  sso: {type: boolean}\n", "")
    environment.apply(without_sso)
    environment.apply(CATALOG)
    environment.create("a", "free")
    with environment.database.writing() as connection:
        provisioning.set_override(
            connection,
            environment.library,
            provisioning.WantedOverride("a", provisioning.WantedEntitlement("sso")),
            environment.now_ms,
        )
    before = environment.revision()
    with pytest.raises(FailedPreconditionError, match=r"feature 'sso' cannot go: .*'a'; remove"):
        rollback(environment, Rollback("api", 1))
    assert (load(environment).version, environment.revision()) == (2, before)


def test_a_feature_goes_only_when_those_left_behind_have_left_it(environment: Environment) -> None:
    environment.apply()
    environment.create("old", "pro")
    granting_no_sso = CATALOG.replace("      sso: true\n", "")
    without_sso = granting_no_sso.replace("  sso: {type: boolean}\n", "")
    apply(environment, granting_no_sso, NEVER)
    environment.create("new", "pro")
    with pytest.raises(FailedPreconditionError, match="for instance 'old'; they keep version 1"):
        apply(environment, without_sso)
    follow(environment, "old")
    assert apply(environment, without_sso).version == 3


def test_a_type_changes_only_for_those_who_move_at_once(environment: Environment) -> None:
    environment.apply()
    environment.create("a", "free")
    retyped = CATALOG.replace("type: enum, values: [eu, us, ap]", "type: boolean").replace(
        "regions: [eu]", "regions: true"
    )
    with pytest.raises(FailedPreconditionError, match="the type of feature 'regions' cannot go"):
        apply(environment, retyped, LATER)
    assert apply(environment, retyped).version == 2
