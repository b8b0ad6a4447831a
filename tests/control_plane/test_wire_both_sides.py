"""What the control plane sends is what the sidecar reads: written again, it is the same."""

from __future__ import annotations

import control_plane_strategies as strategies
import credit_strategies
from hypothesis import given

from control_plane.wire.snapshots import catalog_to_proto, customer_to_proto
from sidecar.wire.snapshot import SnapshotReader
from weighbridge.rules.catalog import Catalog, Customer


@given(strategies.catalogs)
def test_catalogs(catalog: Catalog) -> None:
    message = catalog_to_proto(catalog)
    read = SnapshotReader().catalog_from_proto(message)
    assert read.edition == catalog.edition
    assert (read.features, read.default_plan) == (catalog.features, catalog.default_plan)
    assert catalog_to_proto(read) == message
    for id_, versions in catalog.plans.items():
        for number, plan in versions.items():
            assert read.plans[id_][number].prices == plan.prices


@given(credit_strategies.catalogs)
def test_credits_and_partner_apps(catalog: Catalog) -> None:
    message = catalog_to_proto(catalog)
    read = SnapshotReader().catalog_from_proto(message)
    assert read.credit_types == catalog.credit_types
    assert catalog_to_proto(read) == message


@given(strategies.customers)
def test_customers(customer: Customer) -> None:
    message = customer_to_proto(customer)
    read = SnapshotReader().customer_from_proto(message)
    assert read.subscriptions == customer.subscriptions
    assert customer_to_proto(read) == message
