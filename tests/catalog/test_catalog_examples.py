"""The example catalogs: they load, grant what scripts rely on, and refuse where they say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.catalog import compile_catalog, load_document
from weighbridge.rules.catalog import Catalog, FeatureType, LimitKind

FOLDER = Path(__file__).parents[2] / "examples" / "catalogs"
MODELS = (
    "credits",
    "freemium",
    "hybrid",
    "pay_per_use",
    "revenue_share",
    "subscription_tiers",
)


def example(name: str) -> Catalog:
    path = FOLDER / f"{name}.yaml"
    return compile_catalog(load_document(path.read_text("utf-8"), path.name), 1)


def test_there_is_one_for_each_pricing_model() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == list(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_it_is_named_after_its_model_and_says_where_figures_come_from(name: str) -> None:
    catalog = example(name)
    assert catalog.id == name
    assert catalog.add_ons
    header = (FOLDER / f"{name}.yaml").read_text("utf-8").split("catalog:")[0]
    for word in ("nvented", "yet" if name == "credits" else "Left out until", "20"):
        assert word in header


@pytest.mark.parametrize("name", MODELS)
def test_a_small_plan_refuses_soon_and_has_where_to_go(name: str) -> None:
    catalog = example(name)
    small = [
        plan
        for id_ in catalog.plans
        if (plan := catalog.plan(id_)) is not None
        and any(
            limit.limit is not None and limit.limit <= 5 and limit.kind is LimitKind.HARD
            for entitlement in plan.entitlements.values()
            for limit in entitlement.limits
        )
    ]
    assert small
    assert all(plan.upgrades_to for plan in small)
    for plan in small:
        for above in plan.upgrades_to:
            found = catalog.plan(above)
            assert found is not None
            assert found.offer.message
            assert found.offer.url.startswith("https://example.com/")


@pytest.mark.parametrize(
    ("name", "plan_id", "features"),
    [
        ("credits", "scale", ("llm.requests", "llm.input_tokens", "llm.output_tokens")),
        ("pay_per_use", "pay_as_you_go", ("api.calls", "egress.bytes")),
    ],
)
def test_what_traces_use_is_metered_and_never_refused(
    name: str, plan_id: str, features: tuple[str, ...]
) -> None:
    catalog = example(name)
    plan = catalog.plan(plan_id)
    assert plan is not None
    for feature in features:
        assert catalog.features[feature].type is FeatureType.METERED
        assert [limit.limit for limit in plan.entitlements[feature].limits] == [None]
