"""The gate under a hierarchy: every customer above has to admit a call as well."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gate_world import (
    MOMENT,
    MONTH,
    OUTAGE_AFTER_MS,
    START_MS,
    Driver,
    catalog,
    customer,
    hard,
    make_gate,
)

from sidecar.core.batch import Batch
from sidecar.core.decided import Decided, NotLoaded
from sidecar.core.moment import Moment
from sidecar.core.request import Kind, Request
from sidecar.core.snapshots import Mode
from sidecar.core.usage import Position, PushedTotal
from sidecar.core.viewing import CustomerView, view_customer
from weighbridge.rules.catalog import Customer, CustomerStatus, Entitlement, Override
from weighbridge.rules.decision import Reason
from weighbridge.rules.rate import Rate, RatePeriod

CALLS = "api.calls"


def under(parent: str, name: str, *, version: int = 1, plan: str = "") -> Customer:
    made = customer(name, version, plan=plan or "free")
    return replace(made, parent=parent, subscriptions=made.subscriptions if plan else ())


def limited(made: Customer, limit: int, feature: str = CALLS) -> Customer:
    entitlement = Entitlement(feature, limits=(hard(limit),))
    return replace(made, version=made.version + 1, overrides=(Override("o", "", entitlement),))


class Family(Driver):
    """acme (plan free) > team > lead > ann and bob."""

    def __init__(self, mode: Mode = Mode.ALL) -> None:
        super().__init__(make_gate(mode))
        self.put(under("acme", "team"), under("team", "lead"))
        self.put(under("lead", "ann"), under("lead", "bob"))

    def put(self, *customers: Customer) -> None:
        for each in customers:
            assert self.gate.cache.apply_customer(each)

    def use(self, who: str, amount: int = 1, feature: str = CALLS, resource: str = "") -> Decided:
        outcome = self.ask(Request(Kind.CONSUME, who, resource, feature, amount))
        assert isinstance(outcome, Decided), outcome
        return outcome

    def view(self, who: str) -> CustomerView:
        view = view_customer(self.gate, who, "", self.moment)
        assert isinstance(view, CustomerView)
        return view

    def used(self, who: str, feature: str = CALLS) -> int:
        usage = self.gate.book.open(who, ("", feature))
        states, _ = usage.states(Entitlement(feature, limits=(hard(10),)), 0, self.moment.now_ms)
        return states[0].used


@pytest.fixture
def family() -> Family:
    return Family()


def test_leaves_share_the_limit_of_the_topmost(family: Family) -> None:
    assert family.use("ann", 3).verdict.allowed
    allowed = family.use("bob", 1)
    assert allowed.limited_by == "acme"
    refused = family.use("bob", 2)
    assert (refused.verdict.reason, refused.limited_by) == (Reason.LIMIT_REACHED, "acme")
    assert refused.verdict.state is not None
    assert (refused.verdict.state.limit.id, refused.verdict.state.used) == ("day", 4)
    assert refused.verdict.allowed_amount == 1
    assert [hint.plan for hint in refused.hints] == ["pro"]
    assert family.use("acme").verdict.allowed
    assert not family.use("acme").verdict.allowed


def test_an_override_on_one_leaf_stops_that_one(family: Family) -> None:
    family.put(limited(under("lead", "ann"), 2))
    assert family.use("ann", 2).verdict.allowed
    refused = family.use("ann")
    assert (refused.verdict.reason, refused.limited_by) == (Reason.LIMIT_REACHED, "")
    assert refused.hints == ()
    assert family.use("bob", 3).verdict.allowed
    assert family.used("acme") == 5


def test_an_override_of_one_in_between_counts_all_below_it(family: Family) -> None:
    family.put(limited(under("acme", "team"), 3))
    assert family.use("ann", 2).verdict.allowed
    refused = family.use("bob", 2)
    assert (refused.limited_by, refused.verdict.allowed_amount, refused.hints) == ("team", 1, ())


def test_a_plan_of_its_own_is_bounded_by_those_above(family: Family) -> None:
    family.put(under("lead", "ann", version=2, plan="pro"))
    sso = family.ask(Request(Kind.CHECK, "ann", "", "sso"))
    assert isinstance(sso, Decided)
    # Its own plan has it, that of acme lacks it.
    assert (sso.verdict.reason, sso.limited_by) == (Reason.FEATURE_NOT_IN_PLAN, "acme")
    assert [hint.plan for hint in sso.hints] == ["pro"]
    support = family.ask(Request(Kind.CHECK, "ann", "", "support", value="phone"))
    assert isinstance(support, Decided)
    assert (support.verdict.reason, support.limited_by) == (Reason.VALUE_NOT_ALLOWED, "acme")
    assert family.use("ann", 5).verdict.allowed
    assert family.use("ann").limited_by == "acme"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (CustomerStatus.REVOKED, Reason.REVOKED),
        (CustomerStatus.ARCHIVED, Reason.CUSTOMER_ARCHIVED),
    ],
)
def test_whoever_is_refused_takes_all_below_along(
    family: Family, status: CustomerStatus, reason: Reason
) -> None:
    assert family.use("ann").verdict.allowed
    family.put(replace(under("acme", "team", version=5), status=status))
    refused = family.use("ann")
    assert (refused.verdict.reason, refused.limited_by) == (reason, "team")
    assert family.use("acme").verdict.allowed
    family.put(under("acme", "team", version=6))
    assert family.use("ann").verdict.allowed


def test_rates_above_hold_for_all_below_together(family: Family) -> None:
    rate = Rate("burst", 1, RatePeriod.MINUTE, 3)
    override = Override("o", "", Entitlement("unlimited", rates=(rate,)))
    family.put(replace(under("acme", "team", version=2), overrides=(override,)))
    assert family.use("ann", 2, "unlimited").verdict.allowed
    refused = family.use("bob", 2, "unlimited")
    assert (refused.verdict.reason, refused.limited_by) == (Reason.RATE_LIMITED, "team")
    assert refused.verdict.allowed_amount == 1
    assert family.use("bob", 1, "unlimited").verdict.allowed


def test_nothing_is_taken_anywhere_when_one_refuses(family: Family) -> None:
    family.put(limited(under("lead", "ann"), 9))
    assert not family.use("ann", 6).verdict.allowed
    assert [family.used(who) for who in ("ann", "lead", "team", "acme")] == [0, 0, 0, 0]


def test_a_record_that_cannot_be_written_is_undone_everywhere(family: Family) -> None:
    batch = Batch(family.gate, Position(0, 1), family.moment)
    batch.decide(Request(Kind.CONSUME, "ann", "", CALLS, 2))
    assert family.used("team") == 2
    batch.rollback()
    assert [family.used(who) for who in ("ann", "lead", "team", "acme")] == [0, 0, 0, 0]


def test_a_report_counts_everywhere_and_is_never_refused(family: Family) -> None:
    reported = family.ask(Request(Kind.REPORT, "ann", "", CALLS, 50))
    assert isinstance(reported, Decided)
    assert reported.verdict.allowed
    assert family.used("acme") == 50
    family.put(replace(under("acme", "team", version=5), status=CustomerStatus.REVOKED))
    family.ask(Request(Kind.REPORT, "ann", "", CALLS, 1))
    assert [family.used(who) for who in ("ann", "lead", "team", "acme")] == [51, 51, 51, 51]


def test_usage_of_a_resource_counts_above_its_customer(family: Family) -> None:
    made = under("lead", "ann", version=2)
    own = replace(customer("ann").subscriptions[0], resource="workspace")
    family.put(replace(made, subscriptions=(own,)))
    assert family.use("ann", 3, resource="workspace").verdict.allowed
    assert (family.used("ann"), family.used("acme")) == (0, 3)
    assert family.use("bob", 3).limited_by == "acme"


def test_who_is_missing_above_is_asked_for() -> None:
    driver = Driver(make_gate(Mode.ON_DEMAND))
    driver.gate.cache.apply_customer(under("team", "ann"))
    outcome = driver.ask(Request(Kind.CONSUME, "ann", "", CALLS))
    assert outcome == NotLoaded("team")
    driver.gate.cache.apply_customer(under("acme", "team"))
    assert isinstance(driver.ask(Request(Kind.CONSUME, "ann", "", CALLS)), Decided)


def test_usage_of_one_whose_parents_are_not_here_is_counted_when_they_are() -> None:
    driver = Family()
    wanted: list[str] = []
    driver.gate.on_refresh_wanted = wanted.append
    driver.ask(Request(Kind.REPORT, "eve", "", CALLS, 4))
    driver.use("bob")
    assert driver.gate.book.has_own("eve")
    driver.put(under("team", "eve"))
    driver.gate.place_usage("eve")
    assert driver.used("acme") == 5
    assert wanted == ["team", "acme"]
    # It is the older usage, so it is the first that totals include.
    totals = [PushedTotal(MONTH.key, MONTH_START_MS, 4)]
    driver.gate.book.push("acme", {("", CALLS): totals}, {0: 1}, is_whole=False)
    assert driver.used("acme") == 5


def test_what_the_control_plane_settled_is_not_placed_any_more() -> None:
    driver = Family()
    driver.ask(Request(Kind.REPORT, "eve", "", CALLS, 4))
    driver.gate.book.settled({0: 1})
    driver.put(under("team", "eve"))
    driver.gate.place_usage("eve")
    assert driver.used("acme") == 0


def test_those_above_stay_while_somebody_under_them_is_held() -> None:
    gate = make_gate(Mode.ON_DEMAND, customers_max=1)
    for each in (under("acme", "team"), under("team", "ann")):
        gate.cache.apply_customer(each)
    assert gate.cache.evict(lambda name: name == "ann") == []
    assert gate.cache.evict(lambda _: False) == ["ann"]
    assert gate.cache.evict(lambda _: False) == ["team"]
    assert gate.cache.evict(lambda _: False) == []


def test_a_listed_customer_brings_those_above_it() -> None:
    gate = make_gate(Mode.LISTED)
    assert not gate.cache.may_hold("holding")
    gate.cache.apply_customer(replace(customer(version=2), parent="holding"))
    assert gate.cache.may_hold("holding")


def test_what_is_above_is_worked_out_once_until_it_changes(family: Family) -> None:
    def above() -> object:
        family.use("ann", 0)
        resolved = family.gate.resolve("ann", "", family.moment)
        assert isinstance(resolved, tuple)
        return resolved[2].above  # type: ignore[union-attr]

    first = above()
    assert above() is first
    family.put(under("lead", "zoe"), under("team", "yan"))
    assert above() is first
    family.put(limited(under("acme", "team"), 3))
    assert above() is not first
    family.gate.cache.apply_catalog(catalog(2, calls=1))
    assert family.use("ann", 2).limited_by == "acme"


def test_an_outage_counts_what_is_spent_under_each_of_them(family: Family) -> None:
    family.moment = Moment(START_MS, MOMENT.boot_ms + OUTAGE_AFTER_MS)
    assert family.use("ann", 2, "safe").verdict.allowed
    refused = family.use("bob", 2, "safe")
    assert (refused.verdict.reason, refused.verdict.allowed_amount) == (Reason.OUTAGE_POLICY, 1)
    assert family.use("ann", 8, "allowing").verdict.allowed
    assert family.use("bob", 8, "allowing").verdict.allowed


def test_the_view_shows_what_is_inherited_and_whose_limits_count(family: Family) -> None:
    family.put(limited(under("lead", "ann"), 2))
    family.use("bob", 3)
    view = family.view("ann")
    assert view.grant is not None
    assert (view.grant.inherited_from, view.ancestors) == ("acme", ("lead", "team", "acme"))
    calls = next(each for each in view.features if each.feature.id == CALLS)
    assert [state.used for state in calls.states] == [0]
    assert [(c.level.customer, [s.used for s in c.states]) for c in calls.counted] == [
        ("acme", [3, 3])
    ]
    family.put(replace(customer(version=9), status=CustomerStatus.ARCHIVED))
    refused = family.view("ann")
    assert (refused.reason, refused.limited_by) == (Reason.CUSTOMER_ARCHIVED, "acme")


MONTH_START_MS = 1_788_220_800_000
