"""Allocation features in overrides and catalogs, and changes that would lose what is held."""

from __future__ import annotations

import pytest
from provisioned import CATALOG, Environment

from control_plane import provisioning
from control_plane.provisioning import WantedEntitlement, WantedLimit, WantedOverride
from weighbridge.rules.catalog import Customer, Limit, LimitKind
from weighbridge.rules.errors import FailedPreconditionError, InvalidArgumentError
from weighbridge.rules.window import Period, Window, WindowKind

HELD = Window(WindowKind.LIFETIME)
ALLOCATED = (
    CATALOG.replace(
        "  sso: {type: boolean}\n",
        "  sso: {type: boolean}\n  projects: {type: metered, meter: allocation}\n",
    )
    .replace("      file.mib: 5\n", "      file.mib: 5\n      projects: {limits: [{limit: 3}]}\n")
    .replace("      sso: true\n", "      sso: true\n      projects: {limits: [{limit: 10}]}\n")
)


@pytest.fixture(autouse=True)
def _customer(environment: Environment) -> None:
    environment.apply(ALLOCATED)
    environment.create("acme", "pro", ("shop",))


def override(environment: Environment, *limits: WantedLimit) -> Customer:
    wanted = WantedOverride("acme", WantedEntitlement("projects", limits=limits))
    with environment.database.writing() as connection:
        record = provisioning.set_override(
            connection, environment.library, wanted, environment.now_ms
        )
    return record.customer


def test_an_override_of_what_is_held_has_no_window(environment: Environment) -> None:
    customer = override(environment, WantedLimit("held", 20), WantedLimit("x", 5, LimitKind.SOFT))
    assert customer.overrides[0].entitlement.limits == (
        Limit("held", LimitKind.HARD, 20, HELD),
        Limit("x", LimitKind.SOFT, 5, HELD),
    )
    monthly = WantedLimit("held", 20, window=Window(WindowKind.CALENDAR, Period.MONTH))
    with pytest.raises(InvalidArgumentError, match=r"limits\[0\].window: .* leave it out"):
        override(environment, monthly)


def test_a_meter_never_changes(environment: Environment) -> None:
    summed = ALLOCATED.replace("metered, meter: allocation", "metered").replace(
        "projects: {limits: [{limit: 3}]}", "projects: unlimited"
    )
    summed = summed.replace("projects: {limits: [{limit: 10}]}", "projects: unlimited")
    with pytest.raises(FailedPreconditionError, match="the meter of feature 'projects'"):
        environment.apply(summed)
