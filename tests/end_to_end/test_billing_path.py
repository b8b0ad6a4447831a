"""From a call to what is billed, for each pricing model: usage, statement, and export.

The golden tables' usage is reported to a sidecar, each row by a customer of its own on the row's
plan, and everything else is what the real processes make of it.
"""

from __future__ import annotations

import csv
import importlib
import time
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.end_to_end.world import World, eventually
from tests.golden_tables import EXAMPLES, add_ons_of, catalog_path, rows, usage_of
from weighbridge.rules.rating.usage import Usage
from weighbridge.v1 import admin_service_pb2 as admin_pb
from weighbridge.v1 import billing_service_pb2 as billing_pb
from weighbridge.v1 import integration_service_pb2 as pb
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1.billing_service_pb2_grpc import BillingServiceStub
from weighbridge.v1.integration_service_pb2_grpc import IntegrationServiceStub
from weighbridge.v1.sync_service_pb2 import SubscribedAddOn

MODELS = {
    "credits",
    "freemium",
    "hybrid",
    "pay_per_use",
    "revenue_share",
    "subscription_tiers",
}
DAY_MS = 86_400_000


class Told(NamedTuple):
    """A row of a golden table, and the customer who has its plan and usage."""

    customer: str
    catalog: str
    row: dict[str, str]

    @property
    def usage(self) -> list[Usage]:
        return usage_of(self.row["usage"])


def golden() -> list[Told]:
    found = [*rows(), *rows("in_credits")]
    return [
        Told(f"{name.replace('_', '-')}-{number}", name, row)
        for number, (name, row) in enumerate(found)
        if name in MODELS
    ]


def provision(world: World, told: Iterable[Told]) -> None:
    admin = world.admin()
    for model in sorted(MODELS):
        admin.apply(catalog_path(model).read_text("utf-8"))
    for each in told:
        made = admin_pb.CreateCustomerRequest(id=each.customer, catalog=each.catalog)
        admin.stub.CreateCustomer(made, metadata=admin.metadata(), timeout=10)
        wanted = admin_pb.SetSubscriptionRequest(
            customer=each.customer,
            plan=each.row["plan"],
            quantity=int(each.row["seats"]),
            trial_days=0,
            add_ons=[
                SubscribedAddOn(add_on=add_on, quantity=quantity)
                for add_on, quantity in add_ons_of(each.row["add_ons"]).items()
            ],
        )
        admin.stub.SetSubscription(wanted, metadata=admin.metadata(), timeout=10)


def report(world: World, told: Iterable[Told]) -> None:
    api = world.api()
    for each in told:
        for used in each.usage:
            request = sidecar_pb.ReportRequest(
                customer=each.customer,
                feature=used.feature,
                amount=used.quantity,
                dimensions=dict(used.dimensions),
            )
            api.Report(request, timeout=10, wait_for_ready=True)
    eventually(lambda: world.usage_records_unsettled() == 0)


def charged(world: World, customer: str) -> Decimal:
    now_ms = time.time_ns() // 1_000_000
    request = billing_pb.GetStatementRequest(
        customer=customer,
        from_unix_ms=now_ms - DAY_MS,
        to_unix_ms=now_ms + DAY_MS,
        currency="USD",
    )
    stub = BillingServiceStub(world._channel(f"127.0.0.1:{world.grpc_port}"))
    response = stub.GetStatement(request, metadata=world.admin().metadata(), timeout=10)
    return Decimal(response.statement.total_minor).scaleb(-2)


def export_to_files(world: World) -> Path:
    """Have the control plane start over with an exporter; returns its folder."""
    folder = world.folder / "exports"
    exporter = {"id": "files", "kind": "files", "folder": str(folder), "from_start": True}
    path = world.folder / "exports.yaml"
    path.write_text(yaml.safe_dump({"exporters": [exporter]}), encoding="utf-8")
    world.control_plane.set(WEIGHBRIDGE_CONTROL_PLANE_EXPORTS_FILE=str(path))
    return folder


def run_export(world: World) -> pb.RunExporterResponse:
    stub = IntegrationServiceStub(world._channel(f"127.0.0.1:{world.grpc_port}"))
    request = pb.RunExporterRequest(exporter="files", include_open=True)
    return stub.RunExporter(
        request, metadata=world.admin().metadata(), timeout=30, wait_for_ready=True
    )


def exported(folder: Path) -> Counter[tuple[str, str]]:
    units: Counter[tuple[str, str]] = Counter()
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                units[row["customer"], row["meter"]] += int(row["quantity"])
    return units


def test_usage_of_each_model_is_stated_as_the_golden_tables_say_and_exported_once(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    folder = export_to_files(world)
    try:
        world.start()
        told = golden()
        provision(world, told)
        report(world, told)
        stated = {each.customer: charged(world, each.customer) for each in told}
        assert stated == {each.customer: Decimal(each.row["charged"]) for each in told}
        used: Counter[tuple[str, str]] = Counter()
        for each in told:
            for one in each.usage:
                used[each.customer, one.feature] += one.quantity
        first = run_export(world)
        assert first.items_not_sent == 0
        world.control_plane.kill()
        world.control_plane.start()
        second = run_export(world)
        assert (second.items_made, second.items_sent) == (0, 0)
        assert +exported(folder) == +used
        # What comes to a window that was sent is an item of its own.
        more = next(each for each in told if each.usage)
        report(world, [more])
        assert run_export(world).items_sent == len({one.feature for one in more.usage})
        for one in more.usage:
            used[more.customer, one.feature] += one.quantity
        assert +exported(folder) == +used
    finally:
        world.end()


def test_the_tour_bills_rows_of_the_golden_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES.parent))
    billed = importlib.import_module("tour_billing").BILLED
    known = {
        (each.catalog, each.row["plan"], int(each.row["seats"]), each.row["charged"]): {
            (used.feature, used.dimensions, used.quantity) for used in each.usage
        }
        for each in golden()
        if each.usage
    }
    assert {each.subscriber.catalog for each in billed} == MODELS
    for each in billed:
        found = each.subscriber
        usage = {(name, tuple(match.items()), units) for name, match, units in each.usage}
        assert known[found.catalog, found.plan, found.seats, each.charged] == usage
