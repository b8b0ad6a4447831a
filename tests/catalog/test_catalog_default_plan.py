"""The plan of customers nobody provisioned, in a catalog."""

from __future__ import annotations

from catalog_samples import changed, compiled, error_of

from control_plane.catalog import diff_catalogs, next_plan_versions
from control_plane.catalog.comparing import ChangeKind

WITH_DEFAULT = ("catalog: mail\n", "catalog: mail\ndefault_plan: free\n")


def test_a_catalog_names_a_default_plan_or_none() -> None:
    assert compiled(changed()).default_plan == ""
    assert compiled(changed(WITH_DEFAULT)).default_plan == "free"


def test_a_plan_that_does_not_exist_is_refused() -> None:
    path, line, problem = error_of(changed((WITH_DEFAULT[0], "catalog: mail\ndefault_plan: no\n")))
    assert (path, line) == ("default_plan", 2)
    assert "plan" in problem


def test_a_change_of_it_shows_and_touches_nobody() -> None:
    before, after = compiled(changed()), compiled(changed(WITH_DEFAULT))
    [added] = diff_catalogs(before, after)
    assert (added.path, added.kind, added.after) == ("default_plan", ChangeKind.ADDED, "free")
    assert (added.plans, added.add_ons) == (frozenset(), frozenset())
    [removed] = diff_catalogs(after, before)
    assert (removed.kind, removed.before) == (ChangeKind.REMOVED, "free")
    assert next_plan_versions(before, after) == {"free": 1, "pro": 1}
