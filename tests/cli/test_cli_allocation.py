"""Allocation features as the command line shows them."""

from __future__ import annotations

from rich.console import Console

from weighbridge.cli.catalog_view import catalog_view
from weighbridge.v1 import admin_service_pb2, sync_service_pb2, types_pb2


def test_the_meter_of_a_feature_shows() -> None:
    feature = sync_service_pb2.Feature(
        id="projects", type=types_pb2.FEATURE_TYPE_METERED, meter=types_pb2.METER_ALLOCATION
    )
    snapshot = sync_service_pb2.CatalogSnapshot(features=[feature])
    console = Console(width=200)
    with console.capture() as capture:
        console.print(catalog_view(admin_service_pb2.GetCatalogResponse(snapshot=snapshot)))
    assert "metered, allocation" in capture.get()
