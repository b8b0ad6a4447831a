"""Applying catalogs: versions, who is affected, and what cannot go."""

from __future__ import annotations

import pytest
from provisioned import CATALOG, Environment
from sqlalchemy import text

from control_plane import provisioning
from control_plane.provisioning import (
    CatalogSource,
    WantedEntitlement,
    WantedOverride,
    WantedSubscription,
)
from control_plane.provisioning.applying import CatalogDiff
from weighbridge.rules.catalog import Catalog, CustomerStatus, Migration, SubscribedAddOn
from weighbridge.rules.errors import (
    ConflictError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)

RAISED = CATALOG.replace("limit: 1000", "limit: 2000")


def load(environment: Environment, version: int | None = None) -> Catalog:
    with environment.database.reading() as connection:
        return environment.library.load(connection, "api", version)


def diff(environment: Environment, document: str) -> CatalogDiff:
    with environment.database.reading() as connection:
        return provisioning.diff_catalog(
            connection, environment.library, CatalogSource(document, "c.yaml"), environment.now_ms
        )


def subscribe(environment: Environment, wanted: WantedSubscription) -> None:
    with environment.database.writing() as connection:
        provisioning.set_subscription(connection, environment.library, wanted, environment.now_ms)


def test_the_first_version(environment: Environment) -> None:
    applied = environment.apply(expected_version=0)

    assert (applied.catalog, applied.version, applied.affected.count) == ("api", 1, 0)
    catalog = load(environment)
    assert catalog.version == 1
    assert {plan: list(versions) for plan, versions in catalog.plans.items()} == {
        "free": [1],
        "pro": [1],
    }
    assert environment.revision() == 1


def test_the_same_content_again_changes_nothing(environment: Environment) -> None:
    environment.apply()
    again = environment.apply(CATALOG + "# a comment\n")

    assert (again.version, again.changes) == (1, ())
    assert environment.revision() == 1


def test_only_plans_that_changed_get_a_version(environment: Environment) -> None:
    environment.apply()
    applied = environment.apply(RAISED)

    assert applied.version == 2
    assert [change.change.path for change in applied.changes] == [
        "plans.pro.features.api.calls.limits.month.limit"
    ]
    catalog = load(environment)
    assert {plan: list(versions) for plan, versions in catalog.plans.items()} == {
        "free": [1],
        "pro": [2],
    }
    assert environment.revision() == 2


def test_old_versions_stay_as_they_were(environment: Environment) -> None:
    environment.apply()
    environment.apply(RAISED)

    first = load(environment, 1).plan("pro")
    assert first is not None
    assert first.version == 1
    assert first.entitlements["api.calls"].limits[0].limit == 1000
    with pytest.raises(NotFoundError, match="has no version 3"):
        load(environment, 3)


def test_another_version_than_expected_is_a_conflict(environment: Environment) -> None:
    environment.apply()
    environment.apply(RAISED)

    with pytest.raises(ConflictError, match="is at version 2 now, not 1"):
        environment.apply(CATALOG, expected_version=1)
    with pytest.raises(InvalidArgumentError, match="expected_version: -1 is negative"):
        environment.apply(CATALOG, expected_version=-1)
    assert load(environment).version == 2


def test_a_conflict_names_what_was_changed_meanwhile(environment: Environment) -> None:
    environment.apply()
    environment.apply(
        RAISED.replace("      sso: true\n", "").replace(
            "      regions: [eu]\n", "      regions: [eu, us]\n      sso: true\n"
        )
    )
    before = environment.revision()
    with pytest.raises(ConflictError) as caught:
        environment.apply(CATALOG.replace("file.mib: 5", "file.mib: 6"), expected_version=1)
    assert str(caught.value) == (
        "catalog 'api' is at version 2 now, not 1; since then "
        "plans.free.features.regions changed from eu to eu, us, "
        "plans.free.features.sso was added, "
        "plans.pro.features.api.calls.limits.month.limit changed from 1000 to 2000, "
        "plans.pro.features.regions changed from eu to eu, us "
        "(weighbridge catalog history api --changes shows all); "
        "nothing was applied: compare with it, then apply again"
    )
    environment.apply()
    with pytest.raises(ConflictError, match="it was changed and changed back"):
        environment.apply(RAISED, expected_version=1)
    with pytest.raises(ConflictError, match=r"since then features.api.calls was added, .* 2 more"):
        environment.apply(RAISED, expected_version=0)
    with pytest.raises(ConflictError, match="at version 3 now, not 7; nothing was applied"):
        environment.apply(RAISED, expected_version=7)
    assert environment.revision() == before + 1


def test_a_conflict_comes_before_what_the_other_change_makes_wrong(
    environment: Environment,
) -> None:
    environment.apply()
    environment.create("a", "pro")
    environment.apply(RAISED)
    with environment.database.writing() as connection, pytest.raises(ConflictError):
        provisioning.apply_catalog(
            connection,
            environment.library,
            CatalogSource(RAISED),
            1,
            environment.now_ms,
            provisioning.MigrationChoice(of_plans={"pro": Migration.NOW}),
        )


def test_a_document_that_is_wrong_changes_nothing(environment: Environment) -> None:
    with pytest.raises(InvalidArgumentError, match=r"catalog\.yaml:\d+"):
        environment.apply(CATALOG.replace("extends: free", "extends: nothing"))

    assert environment.revision() == 0
    with environment.database.reading() as connection:
        assert provisioning.catalog_versions(connection) == {}


def test_a_failed_transaction_leaves_no_trace_in_the_library(environment: Environment) -> None:
    environment.apply()
    with environment.database.writing() as connection:
        provisioning.apply_catalog(
            connection, environment.library, CatalogSource(RAISED), None, environment.now_ms
        )
        environment.library.load(connection, "api")
        connection.rollback()
    environment.apply(CATALOG.replace("limit: 1000", "limit: 3000"))

    plan = load(environment).plan("pro")
    assert plan is not None
    assert plan.entitlements["api.calls"].limits[0].limit == 3000


def test_affected_customers_are_counted_once_each(environment: Environment) -> None:
    environment.apply()
    for name in ("a", "b", "c"):
        environment.create(name, "pro", ("r1", "r2"))
        for resource in ("r1", "r2"):
            subscribe(environment, WantedSubscription(name, "pro", resource))
    environment.create("on.free", "free")
    with environment.database.writing() as connection:
        provisioning.set_customer_status(
            connection, "c", CustomerStatus.ARCHIVED, environment.now_ms
        )

    compared = diff(environment, RAISED)
    assert (compared.current_version, compared.affected.count) == (1, 2)
    assert compared.affected.sample == ("a", "b")
    assert [change.customers for change in compared.changes] == [2]
    assert environment.apply(RAISED).affected == compared.affected


def test_names_affect_nobody(environment: Environment) -> None:
    environment.apply()
    environment.create("a", "pro")

    renamed = CATALOG.replace("  pro:\n", "  pro:\n    name: Professional\n")
    compared = diff(environment, renamed)
    assert [change.customers for change in compared.changes] == [0]
    assert environment.apply(renamed).version == 2


def test_more_customers_than_the_sample_holds(environment: Environment) -> None:
    environment.apply()
    for number in range(12):
        environment.create(f"c{number:02}", "pro")

    affected = diff(environment, RAISED).affected
    assert affected.count == 12
    assert affected.sample == tuple(f"c{number:02}" for number in range(10))


def test_add_on_changes_affect_who_bought_it(environment: Environment) -> None:
    environment.apply()
    environment.create("a", "pro")
    environment.create("b")
    subscribe(
        environment, WantedSubscription("b", "pro", add_ons=(SubscribedAddOn("calls_500", 2),))
    )

    compared = diff(environment, CATALOG.replace("limit: 500", "limit: 600"))
    assert compared.affected.sample == ("b",)


def test_a_pinned_plan_version_is_kept_and_not_affected(environment: Environment) -> None:
    environment.apply()
    environment.create("a")
    environment.create("b", "pro")
    subscribe(environment, WantedSubscription("a", "pro", plan_version=1))

    assert environment.apply(RAISED).affected.sample == ("b",)
    catalog = load(environment)
    assert {
        number: plan.entitlements["api.calls"].limits[0].limit
        for number, plan in catalog.plans["pro"].items()
    } == {1: 1000, 2: 2000}
    newest = catalog.plan("pro")
    assert newest is not None
    assert newest.version == 2

    subscribe(environment, WantedSubscription("a", "free"))
    assert list(load(environment).plans["pro"]) == [2]


def test_a_plan_that_comes_back_gets_a_new_number(environment: Environment) -> None:
    without_pro = CATALOG[: CATALOG.index("  pro:")].replace("    upgrades_to: [pro]\n", "")
    environment.apply()
    environment.apply(without_pro)
    environment.apply()

    catalog = load(environment)
    assert list(catalog.plans["pro"]) == [2]
    assert list(load(environment, 1).plans["pro"]) == [1]


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("plan", "plan 'pro' cannot go: customers are on it, for instance 'a'"),
        ("add_on", "add-on 'calls_500' cannot go: customers are on it, for instance 'a'"),
        ("granted", "feature 'sso' cannot go: customers are on it, for instance 'a'"),
        ("overridden", "feature 'file.mib' cannot go: customers are on it, for instance 'z'"),
        ("retyped", "the type of feature 'regions' cannot go: .* for instance 'z'"),
        ("pinned", "feature 'sso' cannot go: .* they keep version 1 of plan 'pro'"),
    ],
)
def test_what_customers_are_on_cannot_go(
    environment: Environment, removed: str, message: str
) -> None:
    environment.apply()
    environment.create("a")
    environment.create("z")
    add_ons = (SubscribedAddOn("calls_500"),)
    subscribe(environment, WantedSubscription("a", "pro", add_ons=add_ons))
    with environment.database.writing() as connection:
        for entitlement in (
            WantedEntitlement("file.mib", number=7),
            WantedEntitlement("regions", values=("us",)),
        ):
            provisioning.set_override(
                connection, environment.library, WantedOverride("z", entitlement), 0
            )
    no_add_on = CATALOG[: CATALOG.index("add_ons:")]
    sso = "  sso: {type: boolean}\n"
    granted_sso = "      sso: true\n"
    mib = "  file.mib: {type: number, unit: MiB}\n"
    if removed == "pinned":
        subscribe(environment, WantedSubscription("a", "pro", plan_version=1, add_ons=add_ons))
        environment.apply(CATALOG.replace(granted_sso, ""))
    document = {
        "plan": CATALOG[: CATALOG.index("  pro:")].replace("    upgrades_to: [pro]\n", ""),
        "add_on": no_add_on,
        "granted": CATALOG.replace(sso, "").replace(granted_sso, ""),
        "overridden": CATALOG.replace(mib, "").replace("      file.mib: 5\n", ""),
        "retyped": CATALOG.replace("type: enum, values: [eu, us, ap]", "type: boolean").replace(
            "regions: [eu]", "regions: true"
        ),
        "pinned": CATALOG.replace(sso, "").replace(granted_sso, ""),
    }[removed]
    before = environment.revision()

    assert diff(environment, document).changes
    with pytest.raises(FailedPreconditionError, match=message):
        environment.apply(document)
    assert environment.revision() == before


def test_what_nobody_is_on_can_go(environment: Environment) -> None:
    environment.apply()
    environment.create("a", "free")

    without_sso = CATALOG.replace("  sso: {type: boolean}\n", "").replace("      sso: true\n", "")
    assert environment.apply(without_sso[: without_sso.index("add_ons:")]).version == 2


def test_several_catalogs(environment: Environment) -> None:
    environment.apply()
    environment.apply(CATALOG.replace("catalog: api", "catalog: other"))
    environment.apply(RAISED)

    with environment.database.reading() as connection:
        assert provisioning.catalog_versions(connection) == {"api": 2, "other": 1}
        summaries = provisioning.list_catalogs(connection, environment.library)
        stored = provisioning.get_catalog(connection, environment.library, "api", 1)
    assert [(s.catalog, s.version, s.features, s.plans, s.add_ons) for s in summaries] == [
        ("api", 2, 4, 2, 1),
        ("other", 1, 4, 2, 1),
    ]
    assert stored.document == CATALOG
    assert stored.summary.version == stored.catalog.version == 1


def test_the_library_keeps_few_versions(environment: Environment) -> None:
    environment.library = provisioning.CatalogLibrary(versions_max=2)
    for number in range(5):
        environment.apply(CATALOG.replace("limit: 1000", f"limit: {2000 + number}"))

    for version in range(1, 6):
        plan = load(environment, version).plan("pro")
        assert plan is not None
        assert plan.entitlements["api.calls"].limits[0].limit == 1999 + version
    assert len(environment.library._compiled) == 2
    assert load(environment) is load(environment)


def test_a_damaged_database_row_is_not_hidden(environment: Environment) -> None:
    environment.apply()
    with environment.database.writing() as connection:
        connection.execute(text("UPDATE catalog_version SET document = 'catalog: ['"))

    with pytest.raises(FailedPreconditionError, match="version 1 of catalog 'api' cannot be read"):
        load(environment)
