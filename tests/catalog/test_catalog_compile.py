"""What a document compiles to: grants, inheritance, defaults, add-ons; the same each time."""

from __future__ import annotations

import json
import random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from catalog_samples import SAMPLE, changed, compiled
from hypothesis import given
from hypothesis import strategies as st

from control_plane.catalog import compile_catalog, diff_catalogs, load_document
from weighbridge.rules.catalog import (
    Entitlement,
    FeatureType,
    Limit,
    LimitKind,
    OutageKind,
    OutagePolicy,
    PlanVersion,
    UpgradeOffer,
)
from weighbridge.rules.lease import Consistency, LostLease
from weighbridge.rules.window import HOUR_MS, LENGTH_MS_MAX, Period, Window, WindowKind

MONTH = Window(WindowKind.CALENDAR, Period.MONTH)
DAY = Window(WindowKind.CALENDAR, Period.DAY)


def plan_of(text: str, plan: str) -> PlanVersion:
    found = compiled(text).plan(plan)
    assert found is not None
    return found


def test_features_have_their_type_and_defaults() -> None:
    features = compiled().features
    assert [feature.type for feature in features.values()] == [
        FeatureType.METERED,
        FeatureType.METERED,
        FeatureType.NUMBER,
        FeatureType.ENUM,
        FeatureType.BOOLEAN,
    ]
    assert features["mails"].name == "Mails sent"
    assert features["mails"].unit == "mail"
    assert features["mails"].outage == OutagePolicy(OutageKind.SAFE_CAPACITY, 100)
    assert features["contacts"].outage == OutagePolicy(OutageKind.DENY)
    assert features["own_domain"].name == "own_domain"
    assert features["own_domain"].outage == OutagePolicy()
    assert features["support"].values == ("community", "email", "phone")


@pytest.mark.parametrize(
    ("written", "consistency", "outage", "lost_lease"),
    [
        ("", Consistency.LEASED, OutageKind.LEASED, LostLease.CHARGE),
        (", lost_lease: release", Consistency.LEASED, OutageKind.LEASED, LostLease.RELEASE),
        (", consistency: cached", Consistency.CACHED, OutageKind.LAST_KNOWN, LostLease.CHARGE),
        (
            ", consistency: authoritative",
            Consistency.AUTHORITATIVE,
            OutageKind.DENY,
            LostLease.CHARGE,
        ),
        (
            ", consistency: authoritative, outage: last_known",
            Consistency.AUTHORITATIVE,
            OutageKind.LAST_KNOWN,
            LostLease.CHARGE,
        ),
    ],
)
def test_hard_limits_are_leased_unless_said_otherwise(
    written: str, consistency: Consistency, outage: OutageKind, lost_lease: LostLease
) -> None:
    text = changed(("{type: metered, outage: deny}", f"{{type: metered{written}}}"))
    feature = compiled(text).features["contacts"]
    assert (feature.consistency, feature.outage.kind) == (consistency, outage)
    assert feature.lost_lease is lost_lease
    assert feature.is_leased is (consistency is not Consistency.CACHED)
    assert feature.is_authoritative is (consistency is Consistency.AUTHORITATIVE)


def test_a_plan_grants_what_it_says() -> None:
    plan = plan_of(SAMPLE, "free")
    assert plan == PlanVersion(
        plan="free",
        version=1,
        name="Free",
        entitlements={
            "mails": Entitlement(
                "mails",
                limits=(
                    Limit("month", LimitKind.HARD, 1000, MONTH),
                    Limit("day", LimitKind.HARD, 100, DAY),
                ),
            ),
            "attachment_mb": Entitlement("attachment_mb", number=5),
            "support": Entitlement("support", values=("community",)),
        },
        upgrades_to=("pro",),
        offer=UpgradeOffer("Begin for nothing.", "https://example.com/free"),
    )


def test_a_child_replaces_feature_by_feature() -> None:
    plan = plan_of(SAMPLE, "pro")
    anniversary = Window(WindowKind.ANNIVERSARY, Period.MONTH)
    assert plan.entitlements == {
        "mails": Entitlement("mails", limits=(Limit("month", LimitKind.SOFT, 50000, anniversary),)),
        "contacts": Entitlement("contacts"),
        "attachment_mb": Entitlement("attachment_mb", number=5),
        "support": Entitlement("support", values=("email", "phone")),
        "own_domain": Entitlement("own_domain"),
    }
    assert (plan.name, plan.upgrades_to, plan.offer) == ("pro", (), UpgradeOffer())


def test_false_takes_any_inherited_feature_away() -> None:
    text = changed(
        ("      contacts: unlimited\n", "      contacts: false\n      attachment_mb: false\n"),
        ("support: [phone, email]", "support: false"),
        (
            "mails: {limits: [{limit: 50000, kind: soft, window: {anniversary: month}}]}",
            "mails: false",
        ),
    )
    assert list(plan_of(text, "pro").entitlements) == ["own_domain"]


def test_inheritance_reaches_through_many_plans_in_any_order() -> None:
    chain = "".join(f"  p{n}: {{extends: p{n + 1}}}\n" for n in range(150))
    last = "  p150: {features: {own_domain: true}}\n"
    catalog = compiled(changed(("  free:\n", f"{chain}{last}  free:\n")))
    plan = catalog.plan("p0")
    assert plan is not None
    assert plan.entitlements == {"own_domain": Entitlement("own_domain")}


@pytest.mark.parametrize(
    ("written", "window", "id_"),
    [
        ("hour", Window(WindowKind.CALENDAR, Period.HOUR), "hour"),
        ("week", Window(WindowKind.CALENDAR, Period.WEEK), "week"),
        ("year", Window(WindowKind.CALENDAR, Period.YEAR), "year"),
        ("lifetime", Window(WindowKind.LIFETIME), "lifetime"),
        ("{calendar: day}", DAY, "day"),
        ("{calendar: day, time_zone: UTC}", DAY, "day"),
        ("{anniversary: week}", Window(WindowKind.ANNIVERSARY, Period.WEEK), "week"),
        (
            "{calendar: month, time_zone: Asia/Kathmandu}",
            Window(WindowKind.CALENDAR, Period.MONTH, "Asia/Kathmandu", ZoneInfo("Asia/Kathmandu")),
            "month",
        ),
        (
            "{anniversary: year, time_zone: America/New_York}",
            Window(
                WindowKind.ANNIVERSARY,
                Period.YEAR,
                "America/New_York",
                ZoneInfo("America/New_York"),
            ),
            "year",
        ),
        (
            "{rolling: {hours: 5}}",
            Window(WindowKind.ROLLING, length_ms=5 * HOUR_MS),
            "rolling",
        ),
        (
            "{session: {days: 1, hours: 2, minutes: 3}}",
            Window(WindowKind.SESSION, length_ms=26 * HOUR_MS + 180_000),
            "session",
        ),
        ("{rolling: week}", Window(WindowKind.ROLLING, length_ms=168 * HOUR_MS), "rolling"),
        ("{session: {days: 366}}", Window(WindowKind.SESSION, length_ms=LENGTH_MS_MAX), "session"),
    ],
)
def test_windows(written: str, window: Window, id_: str) -> None:
    grant = f"contacts: {{limits: [{{limit: 7, window: {written}}}]}}"
    (limit,) = (
        plan_of(changed(("contacts: unlimited", grant)), "pro").entitlements["contacts"].limits
    )
    assert limit == Limit(id_, LimitKind.HARD, 7, window)


def test_unlimited_words() -> None:
    text = changed(
        ("attachment_mb: 5", "attachment_mb: unlimited"),
        ("limit: 1000, window", "limit: unlimited, window"),
    )
    entitlements = plan_of(text, "free").entitlements
    assert entitlements["attachment_mb"] == Entitlement("attachment_mb", number=None)
    assert entitlements["mails"].limits[0].limit is None
    assert entitlements["mails"].limits[1].limit == 100


def test_an_add_on_limit_takes_kind_and_window_from_the_plan() -> None:
    add_on = compiled().add_ons["more_mails"]
    assert add_on.plans == ("free",)
    assert add_on.offer == UpgradeOffer("More mails.")
    assert add_on.entitlements["mails"].limits == (Limit("month", LimitKind.HARD, 1000, MONTH),)
    text = changed(("plans: [free]", "plans: [pro]"))
    (limit,) = compiled(text).add_ons["more_mails"].entitlements["mails"].limits
    assert limit == Limit(
        "month", LimitKind.SOFT, 1000, Window(WindowKind.ANNIVERSARY, Period.MONTH)
    )


def test_an_add_on_brings_what_a_plan_lacks() -> None:
    grants = "contacts: {limits: [{id: day, limit: 9, kind: soft, window: day}]}"
    text = changed(
        ("    plans: [free]\n", ""),
        ("mails: {limits: [{id: month, limit: 1000}]}", f"{grants}\n      own_domain: true"),
        ("    offer: {message: More mails.}\n", ""),
    )
    add_on = compiled(text).add_ons["more_mails"]
    assert add_on.plans == ()
    assert add_on.entitlements == {
        "contacts": Entitlement("contacts", limits=(Limit("day", LimitKind.SOFT, 9, DAY),)),
        "own_domain": Entitlement("own_domain"),
    }


def test_an_add_on_can_lift_limits_and_add_values_and_numbers() -> None:
    text = changed(
        (
            "mails: {limits: [{id: month, limit: 1000}]}",
            "mails: unlimited\n      support: [phone]\n      attachment_mb: 20",
        )
    )
    assert compiled(text).add_ons["more_mails"].entitlements == {
        "mails": Entitlement("mails"),
        "attachment_mb": Entitlement("attachment_mb", number=20),
        "support": Entitlement("support", values=("phone",)),
    }


def test_versions_are_what_the_caller_says() -> None:
    catalog = compile_catalog(load_document(SAMPLE, "m"), 7, {"pro": 3})
    assert (catalog.id, catalog.version) == ("mail", 7)
    assert {plan: list(versions) for plan, versions in catalog.plans.items()} == {
        "free": [1],
        "pro": [3],
    }
    assert catalog.plans["pro"][3].version == 3


# Documents as values: what a grant may be, by feature type.
_AMOUNTS = st.integers(0, 10**15)
_WINDOWS = st.one_of(
    st.sampled_from(["hour", "day", "week", "month", "year", "lifetime"]),
    st.fixed_dictionaries(
        {"calendar": st.sampled_from(["day", "month"])},
        optional={"time_zone": st.sampled_from(["UTC", "Europe/Berlin", "Asia/Tokyo"])},
    ),
    st.fixed_dictionaries({"anniversary": st.sampled_from(["week", "year"])}),
    st.fixed_dictionaries({"rolling": st.sampled_from(["hour", "day", {"minutes": 90}])}),
    st.fixed_dictionaries({"session": st.sampled_from(["week", {"hours": 5, "days": 1}])}),
)
_LIMIT = st.fixed_dictionaries(
    {"limit": st.one_of(_AMOUNTS, st.just("unlimited")), "window": _WINDOWS},
    optional={"kind": st.sampled_from(["hard", "soft"])},
)
_LIMITS = st.lists(_LIMIT, min_size=1, max_size=4).map(
    lambda limits: {"limits": [{"id": f"l{n}", **limit} for n, limit in enumerate(limits)]}
)
_VALUES = ["a", "b", "c"]
_GRANTS: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "number": st.one_of(_AMOUNTS, st.just("unlimited"), st.just(False)),
    "enum": st.one_of(
        st.lists(st.sampled_from(_VALUES), min_size=1, unique=True),
        st.just(False),
    ),
    "metered": st.one_of(_LIMITS, st.just("unlimited"), st.just(False)),
}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    types = draw(st.lists(st.sampled_from(sorted(_GRANTS)), min_size=1, max_size=5))
    features = {
        f"f.{n}": {"type": t, **({"values": _VALUES} if t == "enum" else {})}
        for n, t in enumerate(types)
    }
    grants = st.fixed_dictionaries(
        {}, optional={f: _GRANTS[d["type"]] for f, d in features.items()}
    )
    plans: dict[str, Any] = {}
    for n in range(draw(st.integers(1, 4))):
        plan: dict[str, Any] = {"features": draw(grants)}
        if plans and draw(st.booleans()):
            plan["extends"] = draw(st.sampled_from(sorted(plans)))
            plan["upgrades_to"] = [plan["extends"]]
        plans[f"p{n}"] = plan
    return {"catalog": "c", "features": features, "plans": plans}


def shuffled(value: Any, chance: random.Random) -> Any:
    """Put the keys of every mapping in another order."""
    if isinstance(value, list):
        return [shuffled(each, chance) for each in value]
    if not isinstance(value, dict):
        return value
    keys = list(value)
    chance.shuffle(keys)
    return {key: shuffled(value[key], chance) for key in keys}


@given(documents(), st.randoms(use_true_random=False))
def test_what_is_written_compiles_to_the_same_in_any_order(
    document: dict[str, Any], chance: random.Random
) -> None:
    # JSON is YAML too. What comes back from it shares no lists, so no aliases are written.
    catalog = compiled(json.dumps(document))
    unshared = json.loads(json.dumps(shuffled(document, chance)))
    again = compiled(yaml.safe_dump(unshared, sort_keys=False, width=20))
    assert again == catalog
    assert diff_catalogs(catalog, again) == ()
    for plan_id in catalog.plans:
        plan = catalog.plan(plan_id)
        assert plan is not None
        written = document["plans"][plan_id]
        for feature, grant in written["features"].items():
            assert (feature in plan.entitlements) == (grant is not False)
        if "extends" in written:
            above = catalog.plan(written["extends"])
            assert above is not None
            for feature in document["features"]:
                if feature not in written["features"]:
                    assert plan.entitlements.get(feature) == above.entitlements.get(feature)
