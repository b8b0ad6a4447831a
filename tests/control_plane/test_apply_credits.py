"""Applying credits and partner apps: what is told, and what cannot go while it is used."""

from __future__ import annotations

import pytest
from provisioned import CATALOG, Environment

from control_plane import provisioning
from control_plane.provisioning import (
    CatalogSource,
    MigrationChoice,
    WantedEntitlement,
    WantedOverride,
)
from control_plane.wire.entitlements import wanted_entitlement_from_proto
from weighbridge.rules.catalog import Migration
from weighbridge.rules.errors import FailedPreconditionError, InvalidArgumentError
from weighbridge.v1 import types_pb2

TYPES = """credit_types:
  ai: {costs: [{feature: api.calls, cost: 2}]}
  gold: {costs: [{feature: api.calls, cost: 1}]}
"""
APPS = """partner_apps:
  sheets: {permissions: [api.calls]}
"""
CREDITED = (
    CATALOG.replace(
        "      api.calls: {limits: [{limit: 1000, window: month}]}",
        "      api.calls: {limits: [{limit: 1000, window: month}], credits: ai}\n"
        "    credit_grants: [{id: monthly, type: ai, amount: 10, every: month}]",
    ).replace("      sso: true\n", "")
    + TYPES
)


def apply(environment: Environment, text: str, migration: Migration) -> None:
    environment.now_ms += 1
    with environment.database.writing() as connection:
        provisioning.apply_catalog(
            connection,
            environment.library,
            CatalogSource(text, "c.yaml"),
            None,
            environment.now_ms,
            MigrationChoice(migration),
        )


def test_what_is_not_enforced_yet_is_told(environment: Environment) -> None:
    assert environment.apply(CATALOG).notices == ()
    assert environment.apply(CREDITED).notices == ()
    (notice,) = environment.apply(CREDITED + APPS).notices
    assert notice.startswith("partner apps are kept and shown, and not enforced yet")
    unchanged = environment.apply(CREDITED + APPS)
    assert unchanged.changes == ()
    assert unchanged.notices == (notice,)


def test_a_cost_touches_those_who_pay_with_it(environment: Environment) -> None:
    environment.apply(CREDITED)
    environment.create("free-1", plan="free")
    environment.create("pro-1", plan="pro")
    applied = environment.apply(CREDITED.replace("cost: 2}", "cost: 3}"))
    (change,) = applied.changes
    assert change.change.path == "credit_types.ai.costs.api.calls"
    assert (change.customers, applied.affected.sample) == (1, ("pro-1",))
    applied = environment.apply(CREDITED.replace("cost: 2}", "cost: 3}") + APPS)
    assert applied.affected.count == 0


def test_credits_that_a_kept_version_uses_cannot_go(environment: Environment) -> None:
    environment.apply(CREDITED)
    environment.create("pro-1", plan="pro")
    with_gold = (
        CREDITED.replace("credits: ai", "credits: gold")
        .replace("type: ai, amount", "type: gold, amount")
        .replace("cost: 2", "cost: 5")
    )
    without_ai = with_gold.replace("  ai: {costs: [{feature: api.calls, cost: 5}]}\n", "")
    with pytest.raises(FailedPreconditionError, match=r"credit type 'ai' cannot go: .*'pro-1'"):
        apply(environment, without_ai, Migration.NEW_CUSTOMERS)
    without_cost = with_gold.replace("  ai: {costs: [{feature: api.calls, cost: 5}]}", "  ai: {}")
    with pytest.raises(FailedPreconditionError, match=r"the cost of 'api\.calls' in 'ai' cannot"):
        apply(environment, without_cost, Migration.NEW_CUSTOMERS)
    apply(environment, with_gold, Migration.NEW_CUSTOMERS)
    with pytest.raises(FailedPreconditionError, match="they keep version 1 of plan 'pro'"):
        apply(environment, without_ai, Migration.NOW)


def test_credits_that_nobody_keeps_can_go(environment: Environment) -> None:
    environment.apply(CREDITED)
    environment.create("pro-1", plan="pro")
    environment.apply(CATALOG)
    with environment.database.reading() as connection:
        assert environment.library.load(connection, "api").credit_types == {}


def test_an_override_keeps_what_pays_and_cannot_set_it(environment: Environment) -> None:
    environment.apply(CREDITED)
    environment.create("pro-1", plan="pro")
    wanted = WantedOverride("pro-1", WantedEntitlement("api.calls"))
    with environment.database.writing() as connection:
        record = provisioning.set_override(
            connection, environment.library, wanted, environment.now_ms
        )
    assert record.customer.overrides[0].entitlement.credit is None
    message = types_pb2.Entitlement(
        feature="api.calls", credits=types_pb2.CreditDraw(credit_type="ai")
    )
    with pytest.raises(InvalidArgumentError, match=r"^entitlement\.credits: cannot be given"):
        wanted_entitlement_from_proto("entitlement", message)
