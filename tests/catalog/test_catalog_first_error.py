"""Which of several mistakes is told, and the bounds of a document."""

from __future__ import annotations

import pytest
from catalog_samples import SAMPLE, changed, error_of, line_with

from control_plane.catalog import load_document
from weighbridge.rules.errors import InvalidArgumentError

MONTH = "{limit: 1000, window: month}"


def test_the_first_by_line_is_told() -> None:
    text = changed(("[phone, email]", "[fax]"), ("[community]\n", "[telex]\n"))
    assert error_of(text)[:2] == ("plans.free.features.support[0]", line_with(text, "telex"))
    text = changed((MONTH, "{limit: -1, window: month}"), ("type: boolean", "type: bool"))
    assert error_of(text)[:2] == ("features.own_domain.type", line_with(text, "type: bool"))


def test_keys_and_types_come_before_references() -> None:
    text = changed(("[pro]", "[team]"), ("{message: More mails.}", "{link: x}"))
    assert error_of(text)[0] == "add_ons.more_mails.offer.link"


def test_lines_count_the_same_with_other_line_ends() -> None:
    text = changed(("contacts: unlimited", "contacts: 5"))
    assert error_of(text.replace("\n", "\r\n"))[1] == line_with(text, "contacts: 5")


def test_a_limit_of_plans_without_any_names_nothing_to_add_to() -> None:
    text = changed(
        ("plans: [free]", "plans: [pro]"), ("mails: {limits: [{id", "contacts: {limits: [{id")
    )
    path, _, problem = error_of(text)
    assert path == "add_ons.more_mails.features.contacts.limits[0].id"
    assert problem == "no plan that it suits has a limit 'month' on contacts to add to"


def test_a_long_cycle_is_told_short() -> None:
    plans = "".join(f"  p{n}: {{extends: p{(n + 1) % 50}}}\n" for n in range(50))
    text = f"catalog: c\nfeatures:\n  f: {{type: boolean}}\nplans:\n{plans}"
    path, line, problem = error_of(text)
    assert (path, line) == ("plans.p0.extends", 5)
    assert problem == (
        "plans inherit in a cycle: p0 -> p1 -> p2 -> p3 -> p4 -> p5 -> p6 -> p7 -> p8 -> ... -> p0"
    )


def test_a_plan_that_leads_into_a_cycle_is_not_blamed() -> None:
    plans = "  a: {extends: b}\n  b: {extends: c}\n  c: {extends: b}\n"
    text = f"catalog: c\nfeatures:\n  f: {{type: boolean}}\nplans:\n{plans}"
    assert error_of(text)[0] == "plans.b.extends"


@pytest.mark.parametrize(
    ("section", "count_max", "entry"),
    [("features", 1000, "{type: boolean}"), ("plans", 200, "{name: x}")],
)
def test_sections_are_bounded(section: str, count_max: int, entry: str) -> None:
    more = "".join(f"  x{n}: {entry}\n" for n in range(count_max))
    path, _, problem = error_of(changed((f"\n{section}:\n", f"\n{section}:\n{more}")))
    assert path == section
    assert problem.endswith(f"entries; at most {count_max}")


def test_limits_of_a_grant_are_bounded() -> None:
    limits = ", ".join(f"{{id: l{n}, limit: 1, window: day}}" for n in range(17))
    path, _, problem = error_of(
        changed(("contacts: unlimited", f"contacts: {{limits: [{limits}]}}"))
    )
    assert path == "plans.pro.features.contacts.limits"
    assert problem == "has 17 entries; at most 16"


def test_what_inheritance_multiplies_is_bounded() -> None:
    features = "".join(f"  f{n}: {{type: boolean}}\n" for n in range(200))
    grants = "".join(f"      f{n}: true\n" for n in range(200))
    children = "".join(f"  p{n}: {{extends: base}}\n" for n in range(100))
    text = f"catalog: c\nfeatures:\n{features}plans:\n  base:\n    features:\n{grants}{children}"
    path, _, problem = error_of(text)
    assert path == "plans"
    assert problem == ("hold 20200 limits and other grants, inherited ones included; at most 20000")


def test_a_nameless_source_is_called_document() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^nonsense: document:1: is not a key here"):
        load_document(f"nonsense: 1\n{SAMPLE}", "")
