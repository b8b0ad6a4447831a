"""What differs between two catalogs, whom it touches, and how plans are numbered."""

from __future__ import annotations

import pytest
from catalog_samples import SAMPLE, changed, compiled

from control_plane.catalog import (
    CatalogChange,
    ChangeKind,
    diff_catalogs,
    next_plan_versions,
)
from weighbridge.rules.reservation import ExcessKind, ExcessPolicy

NOBODY: frozenset[str] = frozenset()
FREE = frozenset({"free"})
PRO = frozenset({"pro"})
BOTH = FREE | PRO
MORE = frozenset({"more_mails"})


def changes(*pairs: tuple[str, str]) -> tuple[CatalogChange, ...]:
    return diff_catalogs(compiled(), compiled(changed(*pairs)))


def test_the_same_has_no_changes() -> None:
    assert diff_catalogs(compiled(), compiled()) == ()
    assert changes(("A mail API.", "The mail API.")) == ()


def test_a_limit() -> None:
    assert changes(("limit: 100\n", "limit: 200\n")) == (
        CatalogChange(
            "plans.free.features.mails.limits.day.limit", ChangeKind.CHANGED, "100", "200", FREE
        ),
    )


def test_kind_and_window_of_a_limit() -> None:
    replaced = ("window: {anniversary: month}", "window: {calendar: month, time_zone: Asia/Tokyo}")
    assert changes(("kind: soft", "kind: hard"), replaced) == (
        CatalogChange(
            "plans.pro.features.mails.limits.month.kind", ChangeKind.CHANGED, "soft", "hard", PRO
        ),
        CatalogChange(
            "plans.pro.features.mails.limits.month.window",
            ChangeKind.CHANGED,
            "anniversary:month:UTC",
            "calendar:month:Asia/Tokyo",
            PRO,
        ),
    )


def test_a_length_is_shown_as_people_say_it() -> None:
    replaced = ("window: {anniversary: month}", "id: month, window: {rolling: {hours: 36}}")
    assert changes(replaced) == (
        CatalogChange(
            "plans.pro.features.mails.limits.month.window",
            ChangeKind.CHANGED,
            "anniversary:month:UTC",
            "rolling:1d12h",
            PRO,
        ),
    )


def test_what_is_inherited_changes_in_the_children_too() -> None:
    assert changes(("attachment_mb: 5", "attachment_mb: unlimited")) == tuple(
        CatalogChange(
            f"plans.{plan}.features.attachment_mb",
            ChangeKind.CHANGED,
            "5",
            "unlimited",
            frozenset({plan}),
        )
        for plan in ("free", "pro")
    )


def test_a_limit_more_and_a_limit_less() -> None:
    grant = "contacts: {limits: [{limit: 3, window: lifetime}]}"
    assert changes(("limit: 1000, window: month", "limit: 1000, window: year, id: month")) == (
        CatalogChange(
            "plans.free.features.mails.limits.month.window",
            ChangeKind.CHANGED,
            "calendar:month:UTC",
            "calendar:year:UTC",
            FREE,
        ),
    )
    assert changes(("contacts: unlimited", grant)) == (
        CatalogChange(
            "plans.pro.features.contacts",
            ChangeKind.CHANGED,
            "unlimited",
            "limits: {lifetime: {limit: 3, kind: hard, window: lifetime}}",
            PRO,
        ),
    )
    day = "          - id: day\n            limit: 100\n            window: day\n"
    (removed,) = changes((day, ""))
    assert removed == CatalogChange(
        "plans.free.features.mails.limits.day",
        ChangeKind.REMOVED,
        "limit: 100, kind: hard, window: calendar:day:UTC",
        "",
        FREE,
    )
    (added,) = diff_catalogs(compiled(changed((day, ""))), compiled())
    assert (added.kind, added.before, added.after) == (ChangeKind.ADDED, "", removed.before)


def test_values_of_an_entitlement() -> None:
    assert changes(("[phone, email]", "[email, phone]")) == ()
    assert changes(("[phone, email]", "[phone]")) == (
        CatalogChange(
            "plans.pro.features.support", ChangeKind.CHANGED, "email, phone", "phone", PRO
        ),
    )


def test_an_entitlement_more_and_less() -> None:
    assert changes(("      own_domain: false\n", "      own_domain: true\n")) == (
        CatalogChange("plans.free.features.own_domain", ChangeKind.ADDED, "", "true", FREE),
    )
    assert changes(("      own_domain: true\n", "      own_domain: false\n")) == (
        CatalogChange("plans.pro.features.own_domain", ChangeKind.REMOVED, "true", "", PRO),
    )


def test_how_limits_are_held_is_told_where_it_is_not_the_default() -> None:
    plain = "{type: metered, outage: deny}"
    assert changes((plain, "{type: metered, outage: deny, lost_lease: release}")) == (
        CatalogChange("features.contacts.lost_lease", ChangeKind.ADDED, "", "release", PRO),
    )
    (change,) = changes((plain, "{type: metered, outage: deny, consistency: authoritative}"))
    assert (change.path, change.after) == ("features.contacts.consistency", "authoritative")
    assert changes((plain, "{type: metered, outage: deny, consistency: leased}")) == ()


def test_a_feature_touches_all_who_have_it() -> None:
    assert changes(("{safe_capacity: 100}", "last_known"), ("unit: MB", "unit: MiB")) == (
        CatalogChange(
            "features.mails.outage",
            ChangeKind.CHANGED,
            "safe_capacity 100",
            "last_known",
            BOTH,
            MORE,
        ),
        CatalogChange("features.attachment_mb.unit", ChangeKind.CHANGED, "MB", "MiB", BOTH),
    )
    assert changes(("{type: metered, outage: deny}", "{type: metered}")) == (
        CatalogChange("features.contacts.outage", ChangeKind.CHANGED, "deny", "leased", PRO),
    )


def test_an_excess_policy_is_compiled_and_compared() -> None:
    bounded, rejecting = ", excess: {overdraft: 5}", ", excess: reject"
    text = changed(("outage: deny", f"outage: deny{bounded}"))
    assert compiled(text).features["contacts"].excess == ExcessPolicy(ExcessKind.OVERDRAFT, 5)
    assert compiled().features["contacts"].excess == ExcessPolicy()
    for written, told in ((bounded, "overdraft 5"), (rejecting, "reject")):
        assert changes(("outage: deny", f"outage: deny{written}")) == (
            CatalogChange("features.contacts.excess", ChangeKind.ADDED, "", told, PRO),
        )


def test_a_feature_taken_out_touches_those_who_had_it() -> None:
    found = changes(
        ("  contacts: {type: metered, outage: deny}\n", ""), ("      contacts: unlimited\n", "")
    )
    assert found == (
        CatalogChange(
            "features.contacts",
            ChangeKind.REMOVED,
            "type: metered, name: contacts, outage: deny",
            "",
            PRO,
        ),
        CatalogChange("plans.pro.features.contacts", ChangeKind.REMOVED, "unlimited", "", PRO),
    )


def test_names_offers_and_upgrades_touch_no_entitlement() -> None:
    found = changes(
        ("name: Free", "name: Start"),
        ("    upgrades_to: [pro]\n", ""),
        ("Begin for nothing.", "Begin."),
        ("name: Mails sent", "name: Mails"),
        ("name: 1,000 mails more", "name: More"),
    )
    assert {change.path for change in found} == {
        "features.mails.name",
        "plans.free.name",
        "plans.free.upgrades_to",
        "plans.free.offer.message",
        "add_ons.more_mails.name",
    }
    assert all(change.plans == change.add_ons == NOBODY for change in found)


def test_an_add_on() -> None:
    assert changes(("{id: month, limit: 1000}", "{id: day, limit: 10}"))[0].add_ons == MORE
    assert changes(("plans: [free]", "plans: [pro, free]")) == (
        CatalogChange(
            "add_ons.more_mails.plans", ChangeKind.CHANGED, "free", "free, pro", NOBODY, MORE
        ),
    )
    without = changed((SAMPLE[SAMPLE.index("add_ons:") :], ""))
    (removed,) = diff_catalogs(compiled(), compiled(without))
    assert (removed.path, removed.kind) == ("add_ons.more_mails", ChangeKind.REMOVED)
    assert removed.add_ons == MORE


def test_a_plan_is_one_change() -> None:
    (added,) = changes(("add_ons:", "  team: {extends: pro, name: Team}\nadd_ons:"))
    assert (added.path, added.kind, added.before) == ("plans.team", ChangeKind.ADDED, "")
    assert added.after.startswith("features: {mails: {limits: {month: {limit: 50000, kind: soft")
    assert len(added.after) <= 203
    assert added.plans == frozenset({"team"})


def test_a_new_catalog_is_all_added() -> None:
    found = diff_catalogs(None, compiled())
    assert [change.path for change in found] == [
        "features.mails",
        "features.contacts",
        "features.attachment_mb",
        "features.support",
        "features.own_domain",
        "plans.free",
        "plans.pro",
        "add_ons.more_mails",
    ]
    assert {change.kind for change in found} == {ChangeKind.ADDED}


def test_a_plan_s_first_feature_has_a_path_of_its_own() -> None:
    empty = changed(("add_ons:", "  team: {name: Team}\nadd_ons:"))
    filled = changed(
        ("add_ons:", "  team: {name: Team, features: {contacts: unlimited}}\nadd_ons:")
    )
    (change,) = diff_catalogs(compiled(empty), compiled(filled))
    assert (change.path, change.after) == ("plans.team.features.contacts", "unlimited")


def test_plans_of_a_new_catalog_are_version_1() -> None:
    assert next_plan_versions(None, compiled()) == {"free": 1, "pro": 1}


@pytest.mark.parametrize(
    ("replaced", "free", "pro"),
    [
        (("A mail API.", "The mail API."), 1, 1),
        (("limit: 100\n", "limit: 200\n"), 2, 1),
        (("attachment_mb: 5", "attachment_mb: 6"), 2, 2),
        (("name: Free", "name: Start"), 2, 1),
        (("upgrades_to: [pro]", "upgrades_to: []"), 2, 1),
        (("Begin for nothing.", "Begin."), 2, 1),
        (("[phone, email]", "[email, phone]"), 1, 1),
        (("outage: deny", "outage: allow"), 1, 1),
        (("id: month, limit: 1000", "id: month, limit: 1001"), 1, 1),
    ],
)
def test_a_plan_s_number_moves_with_its_content(
    replaced: tuple[str, str], free: int, pro: int
) -> None:
    after = compiled(changed(replaced), version=2)
    assert next_plan_versions(compiled(), after) == {"free": free, "pro": pro}


def test_a_plan_that_comes_back_goes_on_counting() -> None:
    with_team = changed(("add_ons:", "  team: {extends: pro}\nadd_ons:"))
    assert next_plan_versions(compiled(), compiled(with_team)) == {"free": 1, "pro": 1, "team": 1}
    highest = {"free": 1, "pro": 1, "team": 4}
    assert next_plan_versions(compiled(), compiled(with_team), highest)["team"] == 5
