"""Trials and limits per seat in the document."""

from __future__ import annotations

from catalog_samples import changed, compiled, error_of, line_with

from control_plane.catalog import diff_catalogs
from weighbridge.rules.catalog import Trial

UNTIL_PRO = (
    "    upgrades_to: [pro]\n",
    "    upgrades_to: [pro]\n    trial: {days: 14, at_end: pro}\n",
)
UNTIL_END = ("    upgrades_to: [pro]\n", "    upgrades_to: [pro]\n    trial: {days: 14}\n")
PER_SEAT = ("{limit: 1000, window: month}", "{limit: 1000, window: month, per_seat: true}")


def test_a_trial_and_what_follows() -> None:
    free, pro = (compiled(changed(UNTIL_PRO)).plan(plan) for plan in ("free", "pro"))
    assert free is not None
    assert pro is not None
    assert free.trial == Trial(14, "pro")
    assert pro.trial is None, "it is not inherited"
    ending = compiled(changed(UNTIL_END)).plan("free")
    assert ending is not None
    assert ending.trial == Trial(14)


def test_a_plan_that_is_not_there_cannot_follow() -> None:
    text = changed(("    upgrades_to: [pro]\n", "    trial: {days: 14, at_end: gold}\n"))
    path, line, problem = error_of(text)
    assert (path, line) == ("plans.free.trial.at_end", line_with(text, "at_end"))
    assert "gold" in problem
    assert problem.endswith("or write cancel")


def test_days_are_bounded() -> None:
    for days in ("0", "367", "1.5"):
        path, _, _ = error_of(
            changed(("    upgrades_to: [pro]\n", f"    trial: {{days: {days}}}\n"))
        )
        assert path == "plans.free.trial.days"


def test_limits_per_seat_are_compared() -> None:
    changes = diff_catalogs(compiled(), compiled(changed(PER_SEAT)))
    assert [change.path for change in changes] == [
        "plans.free.features.mails.limits.month.per_seat"
    ]
    assert changes[0].plans == {"free"}


def test_a_trial_changes_nothing_for_who_is_on_the_plan() -> None:
    (change,) = diff_catalogs(compiled(), compiled(changed(UNTIL_PRO)))
    assert (change.path, change.plans) == ("plans.free.trial", frozenset())
