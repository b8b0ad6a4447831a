"""Rates and observed features as the command line writes and shows them."""

from __future__ import annotations

import pytest
from rich.console import Console, RenderableType

from weighbridge.cli.catalog_view import catalog_view
from weighbridge.cli.customer_view import grant_text
from weighbridge.cli.decision_view import verdict
from weighbridge.cli.entitlements_view import entitlements_view
from weighbridge.cli.exit_codes import UsageError
from weighbridge.cli.rate_text import parse_rate, rate_text
from weighbridge.v1 import admin_service_pb2, sync_service_pb2, types_pb2

RATE = types_pb2.Rate(
    id="fast",
    limit=1000,
    period=types_pb2.RATE_PERIOD_SECOND,
    burst=2000,
    scope=types_pb2.RATE_SCOPE_SIDECAR,
)


def shown(view: RenderableType) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def test_a_rate_is_written_in_one_word() -> None:
    assert parse_rate("fast=1000/second,2000") == RATE
    plain = parse_rate("per_hour=5/hour")
    assert (plain.limit, plain.HasField("burst")) == (5, False)
    assert rate_text(RATE) == "1,000 per second, burst 2,000"
    shared = parse_rate("fast=1000/second,2000,fleet")
    assert shared.scope == types_pb2.RATE_SCOPE_FLEET
    assert rate_text(shared) == "1,000 per second, burst 2,000, fleet-wide"


@pytest.mark.parametrize("text", ["fast", "=1/second", "fast=-1/hour", "fast=1/day", "a=1/hour,"])
def test_a_rate_that_is_none_is_quoted(text: str) -> None:
    with pytest.raises(UsageError, match="--rate "):
        parse_rate(text)


def test_grants_and_entitlements_show_rates() -> None:
    grant = types_pb2.Entitlement(feature="calls", enabled=True, rates=[RATE])
    assert grant_text(grant, is_counted=True) == "fast 1,000 per second, burst 2,000"
    feature = types_pb2.FeatureEntitlement(
        feature="calls", enabled=True, rates=[types_pb2.RateUsage(rate=RATE, remaining=7)]
    )
    text = shown(entitlements_view(types_pb2.CustomerEntitlements(features=[feature])))
    assert "fast (1,000 per second, burst 2,000)" in text
    assert "unlimited" not in text


def test_what_is_only_observed_says_so() -> None:
    decision = types_pb2.Decision(allowed=True, observed_reason=types_pb2.REASON_RATE_LIMITED)
    assert verdict(decision).plain == "allowed, only observed: it would be refused, RATE_LIMITED"
    feature = sync_service_pb2.Feature(id="calls", enforcement=types_pb2.ENFORCEMENT_OBSERVE)
    snapshot = sync_service_pb2.CatalogSnapshot(features=[feature])
    assert "observed" in shown(
        catalog_view(admin_service_pb2.GetCatalogResponse(snapshot=snapshot))
    )
