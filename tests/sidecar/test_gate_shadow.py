"""A draft beside the live catalog: it counts what it would have answered, and decides nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core import shadow as shadow_module
from sidecar.core.batch import Batch
from sidecar.core.decided import Decided, NotLoaded
from sidecar.core.gate import Gate
from sidecar.core.moment import Moment
from sidecar.core.request import Kind, Request
from sidecar.core.shadow import Compared, Differing, Draft, Shadow
from sidecar.core.usage import Position
from tests.sidecar.gate_world import (
    DAY,
    MOMENT,
    START_MS,
    Driver,
    catalog,
    customer,
    hard,
)
from weighbridge.rules.catalog import Catalog, Enforcement, Entitlement, Feature, FeatureType
from weighbridge.rules.decision import Reason
from weighbridge.rules.rate import Rate, RatePeriod
from weighbridge.rules.window import Period, Window, WindowKind

HOUR = Window(WindowKind.CALENDAR, Period.HOUR)


def granting(entitlement: Entitlement, live: Catalog | None = None) -> Catalog:
    """Return a catalog in which the free plan grants that."""
    of = live or catalog(2)
    plan = of.plans["free"][1]
    changed = replace(plan, entitlements={**plan.entitlements, entitlement.feature: entitlement})
    return replace(of, plans={**of.plans, "free": {1: changed}})


def shadowed(draft: Catalog, driver: Driver | None = None, number: int = 1) -> Driver:
    driver = driver or Driver()
    driver.gate.shadow = driver.gate.shadow or Shadow()
    driver.gate.shadow.put(draft, number, START_MS)
    return driver


def pass_time(driver: Driver, milliseconds: int) -> None:
    """Let time pass in which the control plane is heard."""
    driver.later(milliseconds)
    driver.gate.link.heard(driver.moment.boot_ms)


def draft_of(gate: Gate) -> Draft:
    assert gate.shadow is not None
    (draft,) = gate.shadow.drafts()
    return draft


def counted(driver: Driver) -> dict[tuple[Reason | None, Reason | None], int]:
    """Return calls by live and draft outcome, of the feature `api.calls`."""
    decisions = draft_of(driver.gate).decisions.items()
    return {(c.live, c.draft): n for c, n in decisions if c.feature == "api.calls"}


LIMIT = Reason.LIMIT_REACHED


def test_a_lower_limit_is_counted_and_refuses_nobody() -> None:
    driver = shadowed(granting(Entitlement("api.calls", limits=(hard(3),))))
    answers = [driver.consume("api.calls") for _ in range(6)]
    assert [answer.verdict.allowed for answer in answers] == [True] * 5 + [False]
    assert counted(driver) == {(None, None): 3, (None, LIMIT): 2, (LIMIT, LIMIT): 1}
    assert draft_of(driver.gate).differing == {"acme": Differing(newly_refused=2)}


def test_a_raised_limit_is_counted_on_usage_as_it_is() -> None:
    driver = shadowed(granting(Entitlement("api.calls", limits=(hard(6, DAY, "day"),))))
    for _ in range(7):
        driver.consume("api.calls")
    # What the live catalog refuses is not used, so there is room under the draft for good.
    assert counted(driver) == {(None, None): 5, (LIMIT, None): 2}
    assert draft_of(driver.gate).most_differing(1) == [("acme", Differing(newly_allowed=2))]


def test_usage_from_before_the_draft_counts_where_the_live_plan_counts_it() -> None:
    driver = Driver()
    for _ in range(4):
        driver.consume("api.calls")
    shadowed(granting(Entitlement("api.calls", limits=(hard(4),))), driver)
    driver.check("api.calls")
    assert counted(driver) == {(None, LIMIT): 1}


def test_a_window_of_the_draft_alone_counts_from_own_usage_from_then_on() -> None:
    driver = Driver()
    driver.consume("api.calls")
    shadowed(granting(Entitlement("api.calls", limits=(hard(3, HOUR, "hour"), hard(10)))), driver)
    driver.check("api.calls")
    driver.consume("api.calls", 2)
    driver.report("api.calls", 1)
    driver.check("api.calls")
    assert counted(driver) == {(None, None): 2, (None, LIMIT): 1}
    pass_time(driver, 3_600_000)
    driver.check("api.calls")
    assert counted(driver)[None, None] == 3


def test_a_rolling_window_of_the_draft_alone_moves() -> None:
    rolling = Window(WindowKind.ROLLING, length_ms=3_600_000)
    driver = shadowed(granting(Entitlement("api.calls", limits=(hard(2, rolling), hard(10)))))
    for _ in range(3):
        driver.consume("api.calls")
    assert counted(driver) == {(None, None): 2, (None, LIMIT): 1}
    pass_time(driver, 2 * 3_600_000)
    driver.consume("api.calls")
    assert counted(driver)[None, None] == 3


def test_a_plan_and_a_feature_that_the_draft_lacks() -> None:
    bare = catalog(2)
    driver = shadowed(replace(bare, plans={"pro": bare.plans["pro"]}))
    driver.consume("api.calls")
    assert counted(driver) == {(None, Reason.NO_ACTIVE_SUBSCRIPTION): 1}
    features = {id_: of for id_, of in bare.features.items() if id_ != "api.calls"}
    shadowed(replace(bare, features=features), driver, number=2)
    driver.consume("api.calls")
    assert counted(driver) == {(None, Reason.FEATURE_UNKNOWN): 1}
    plain = {**features, "api.calls": Feature("api.calls", FeatureType.BOOLEAN)}
    shadowed(replace(bare, features=plain), driver, number=3)
    driver.consume("api.calls")
    assert counted(driver) == {(None, Reason.FEATURE_UNKNOWN): 1}


def test_plain_features_are_compared_too() -> None:
    driver = shadowed(granting(Entitlement("support", values=("email", "phone"))))
    driver.check("support", value="phone")
    driver.check("no.such.feature")
    assert draft_of(driver.gate).decisions == {
        Compared("support", Reason.VALUE_NOT_ALLOWED, None): 1,
        # Labels of metrics: what an application makes up is no label.
        Compared("", Reason.FEATURE_UNKNOWN, Reason.FEATURE_UNKNOWN): 1,
    }


def test_an_observed_feature_of_the_draft_refuses_nobody() -> None:
    strict = granting(Entitlement("api.calls", limits=(hard(0),)))
    feature = replace(strict.features["api.calls"], enforcement=Enforcement.OBSERVE)
    driver = shadowed(replace(strict, features={**strict.features, "api.calls": feature}))
    driver.consume("api.calls")
    assert counted(driver) == {(None, None): 1}


def test_a_rate_of_the_draft_has_a_bucket_of_its_own() -> None:
    rate = Rate("per_minute", 2, RatePeriod.MINUTE, 2)
    driver = shadowed(granting(Entitlement("api.calls", limits=(hard(9),), rates=(rate,))))
    for _ in range(3):
        assert driver.consume("api.calls").verdict.allowed
    driver.check("api.calls")
    assert counted(driver) == {(None, None): 2, (None, Reason.RATE_LIMITED): 2}
    pass_time(driver, 60_000)
    driver.consume("api.calls")
    assert counted(driver)[None, None] == 3
    assert driver.gate.rates.states("acme", ("", "api.calls"), [rate], 0)[0].remaining == 2


def test_a_draft_with_a_higher_version_decides_nothing() -> None:
    driver = shadowed(catalog(99, calls=1))
    for _ in range(5):
        answer = driver.consume("api.calls")
        assert answer.verdict.allowed
        assert answer.catalog_version == 1
    assert not driver.gate.cache.apply_catalog(catalog(1))


def test_another_number_counts_anew_and_the_same_one_goes_on() -> None:
    driver = shadowed(catalog(2))
    driver.check("api.calls")
    shadowed(catalog(3), driver)
    driver.check("api.calls")
    assert counted(driver) == {(None, None): 2}
    assert draft_of(driver.gate).compiler.catalog.version == 3
    shadowed(catalog(3), driver, number=2)
    driver.check("api.calls")
    assert counted(driver) == {(None, None): 1}


def test_other_catalogs_and_unknown_customers_are_not_compared() -> None:
    driver = shadowed(replace(catalog(2), id="other"))
    driver.consume("api.calls")
    assert not draft_of(driver.gate).decisions
    driver = shadowed(catalog(2))
    driver.gate.cache.apply_absent("nobody", 5)
    driver.ask(Request(Kind.CHECK, "nobody", "", "api.calls"))
    assert isinstance(driver.ask(Request(Kind.CHECK, "later", "", "api.calls")), NotLoaded)
    assert not draft_of(driver.gate).decisions


def test_what_an_outage_policy_decides_is_not_compared() -> None:
    driver = shadowed(catalog(2))
    driver.later(60_000)
    driver.check("denying")
    assert not draft_of(driver.gate).decisions


def family() -> Driver:
    """Return a driver on `team` and `user`, who inherit what `acme` above them has."""
    driver = Driver()
    for name, parent in (("team", "acme"), ("user", "team")):
        child = replace(customer(name), parent=parent, subscriptions=())
        driver.gate.cache.apply_customer(child)
    return driver


def ask(driver: Driver, name: str, amount: int = 1, kind: Kind = Kind.CONSUME) -> Decided:
    outcome = driver.ask(Request(kind, name, "", "api.calls", amount))
    assert isinstance(outcome, Decided)
    return outcome


def test_a_limit_above_a_customer_is_that_of_the_draft() -> None:
    driver = shadowed(granting(Entitlement("api.calls", limits=(hard(3),))), family())
    for name in ("user", "team", "acme", "user"):
        assert ask(driver, name).verdict.allowed
    assert counted(driver) == {(None, None): 3, (None, LIMIT): 1}
    assert draft_of(driver.gate).differing == {"user": Differing(newly_refused=1)}


def test_a_window_and_a_rate_of_the_draft_alone_count_above_too() -> None:
    rate = Rate("per_minute", 5, RatePeriod.MINUTE, 5)
    granted = Entitlement("api.calls", limits=(hard(3, HOUR, "hour"), hard(10)), rates=(rate,))
    driver = shadowed(granting(granted), family())
    for name in ("user", "team", "acme"):
        ask(driver, name)
    assert counted(driver) == {(None, None): 3}
    ask(driver, "user")
    assert counted(driver)[None, LIMIT] == 1
    pass_time(driver, 3_600_000)
    ask(driver, "user", 5, Kind.CHECK)
    ask(driver, "user", 4, Kind.CHECK)
    assert counted(driver)[None, None] == 3


def test_a_draft_without_the_plan_above_refuses_all_below() -> None:
    bare = catalog(2)
    driver = shadowed(replace(bare, plans={"pro": bare.plans["pro"]}), family())
    ask(driver, "user")
    assert counted(driver) == {(None, Reason.NO_ACTIVE_SUBSCRIPTION): 1}


def test_a_customers_change_is_seen_by_the_draft() -> None:
    driver = shadowed(granting(Entitlement("api.calls", limits=(hard(1),))))
    driver.consume("api.calls")
    driver.consume("api.calls")
    driver.gate.cache.apply_customer(customer(version=2, plan="pro"))
    driver.consume("api.calls")
    assert counted(driver) == {(None, None): 2, (None, LIMIT): 1}


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_module, "DIFFERING_MAX", 1)
    driver = shadowed(granting(Entitlement("api.calls", limits=(hard(0, HOUR, "hour"), hard(10)))))
    driver.gate.cache.apply_customer(customer("bolt"))
    driver.consume("api.calls")
    driver.ask(Request(Kind.CONSUME, "bolt", "", "api.calls"))
    driver.consume("api.calls")
    draft = draft_of(driver.gate)
    assert draft.differing == {"acme": Differing(2)}
    assert draft.differing_uncounted == 1
    assert driver.gate.shadow is not None
    driver.gate.shadow.forget("acme")
    assert set(draft._customers) == {"bolt"}


def test_own_usage_is_kept_as_sums() -> None:
    wide = granting(Entitlement("unlimited", limits=(hard(500, HOUR, "hour"),)))
    driver = shadowed(wide)
    for _ in range(600):
        driver.consume("unlimited")
    draft = draft_of(driver.gate)
    assert draft.decisions == {
        Compared("unlimited", None, None): 500,
        Compared("unlimited", None, LIMIT): 100,
    }
    (own,) = draft._customers["acme"].usages.values()
    assert len(own._usage.own_usage) < 64


calls = st.lists(
    st.tuples(
        st.sampled_from([Kind.CHECK, Kind.CONSUME, Kind.REPORT]),
        st.sampled_from(["api.calls", "tokens", "unlimited", "safe", "sso", "file_mb", "none"]),
        st.integers(0, 8),
        st.sampled_from([0, 1_000, 3_600_000, 86_400_000]),
        st.booleans(),
        st.sampled_from(["acme", "team", "user"]),
    ),
    max_size=40,
)


@given(calls, st.sampled_from([0, 3, 50]))
def test_a_draft_changes_no_answer_and_one_like_the_live_catalog_agrees(
    trace: list[tuple[Kind, str, int, int, bool, str]], draft_limit: int
) -> None:
    """Also where records could not be written and their batch was undone."""
    alone, beside, twin = (family().gate for _ in range(3))
    beside.shadow, twin.shadow = Shadow(), Shadow()
    beside.shadow.put(catalog(9, calls=draft_limit), 1, START_MS)
    twin.shadow.put(catalog(9), 1, START_MS)
    now_ms = START_MS
    for number, (kind, feature, amount, later_ms, is_written, name) in enumerate(trace, start=1):
        now_ms += later_ms
        metered = catalog().features.get(feature)
        is_plain = metered is not None and metered.type is not FeatureType.METERED
        asked = Kind.CHECK if is_plain else kind
        answers = []
        for gate in (alone, beside, twin):
            batch = Batch(gate, Position(0, number), Moment(now_ms, MOMENT.boot_ms))
            answer = batch.decide(Request(asked, name, "", feature, amount))
            assert isinstance(answer, Decided)
            # Each gate has objects of its own for what lies above.
            answers.append(answer._replace(counted=()))
            if is_written:
                batch.commit()
            else:
                batch.rollback()
        assert answers[0] == answers[1] == answers[2]
    assert all(compared.live is compared.draft for compared in draft_of(twin).decisions)
