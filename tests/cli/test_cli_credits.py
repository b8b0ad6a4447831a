"""Credits and partner apps as the command line shows them."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console, RenderableType

from control_plane.catalog import compile_catalog, load_document
from control_plane.wire.snapshots import catalog_to_proto
from weighbridge.cli.catalog_view import catalog_view, diff_view
from weighbridge.cli.credit_view import credits_text
from weighbridge.cli.entitlements_view import entitlements_view
from weighbridge.v1 import admin_service_pb2, types_pb2

EXAMPLES = Path(__file__).parents[2] / "examples" / "catalogs"
AI = types_pb2.CreditUnit(credit_type="ai", name="AI credits", unit="credit", decimals=2)


def shown(view: RenderableType) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def example(name: str) -> str:
    path = EXAMPLES / f"{name}.yaml"
    compiled = compile_catalog(load_document(path.read_text("utf-8"), path.name), 1)
    return shown(
        catalog_view(admin_service_pb2.GetCatalogResponse(snapshot=catalog_to_proto(compiled)))
    )


def test_amounts_have_the_decimals_of_their_type_and_more_where_needed() -> None:
    assert credits_text(1_000_000_000, AI) == "1,000.00"
    assert credits_text(1, AI) == "0.000001"
    assert credits_text(0, AI) == "0.00"
    assert credits_text(1_500_000_000_000) == "1,500,000"


def test_a_catalog_shows_costs_grants_and_top_ups() -> None:
    text = example("credits")
    for part in (
        "Credits api (API credits, by the credit, worth 1 USD)",
        "model=gpt-4o-mini",
        "0.075",
        "paid with credits of api",
        "Credits of plan evaluation",
        "5.00 of api",
        "after 90 days",
        "Credits bought on plan tier_1",
        "Credits of add-on credits_100",
    ):
        assert part in text
    hybrid = example("hybrid")
    assert "paid with credits of ai, and past them" in hybrid
    assert "1,900 per seat of ai" in hybrid
    assert "calendar month" in hybrid


def test_a_catalog_shows_partner_apps() -> None:
    text = example("revenue_share")
    for part in (
        "Partner app time_sheets (Time Sheets (Checkout))",
        "day 5,000 (hard, calendar day)",
        "Revenue share of quote_builder",
        "20,000,000.00 (calendar year)",
        "15 %",
        "0.30",
    ):
        assert part in text


def test_a_diff_says_what_is_not_enforced_yet() -> None:
    diff = admin_service_pb2.DiffCatalogResponse(
        catalog="api", current_version=1, notices=["credits are not enforced yet"]
    )
    assert "Note: credits are not enforced yet" in shown(diff_view(diff))
    diff.changes.add(path="plans.pro.credit_grants.monthly.amount", before="1", after="2")
    assert "Note: credits are not enforced yet" in shown(diff_view(diff))


def test_entitlements_show_what_pays_and_what_is_granted() -> None:
    feature = types_pb2.FeatureEntitlement(
        feature="tokens", enabled=True, credits=types_pb2.CreditDraw(credit_type="ai")
    )
    grant = types_pb2.CreditGrant(
        id="pack",
        credit_type="ai",
        amount_micro=2_500_000,
        kind=types_pb2.CREDIT_GRANT_KIND_PREPAID,
        end=types_pb2.CREDIT_GRANT_END_NEVER,
        rollover_micro_max=1_000_000,
        starts_after_days=2,
    )
    text = shown(
        entitlements_view(
            types_pb2.CustomerEntitlements(
                features=[feature], credit_grants=[grant], credit_units=[AI]
            )
        )
    )
    for part in ("paid with credits of ai", "2.50 of ai", "once, after 2 days", "1.00 stay"):
        assert part in text
