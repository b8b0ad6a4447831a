"""Subscriptions of Stripe become plans, whatever order its events come in."""

from __future__ import annotations

import itertools

import pytest
from imported import (
    DAY_S,
    NOW_MS,
    NOW_S,
    PRICES,
    SECRET,
    Imported,
    event,
    item,
    session,
    signed,
    subscription,
    subscription_invoice,
)

from control_plane.importers.events import KEPT_MS, EventState, list_events, prune_events
from weighbridge.rules.catalog import SubscribedAddOn, SubscriptionStatus
from weighbridge.rules.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError

CREATED = "customer.subscription.created"
UPDATED = "customer.subscription.updated"
DELETED = "customer.subscription.deleted"
APPLIED, IGNORED, SET_ASIDE = EventState.APPLIED, EventState.IGNORED, EventState.SET_ASIDE


def test_a_customer_is_provisioned(imported: Imported) -> None:
    bought = subscription(
        "sub_1", item("price_pro", 3), item("price_calls", 2), item("price_setup", None)
    )
    assert imported.tell(CREATED, bought).taken == (APPLIED, "", "cus_1")
    current = imported.timeline().current
    assert current is not None
    assert (current.plan, current.quantity, current.is_trial) == ("pro", 3, False)
    assert current.add_ons == (SubscribedAddOn("calls_50", 2),)
    assert current.anchor_ms == (NOW_S - 60) * 1_000
    assert imported.changed == ["cus_1"]


def test_an_update_that_changes_nothing_here_leaves_the_subscription(imported: Imported) -> None:
    imported.tell(CREATED, subscription())
    first = imported.timeline()
    imported.tell(UPDATED, subscription(), NOW_S + 1)
    assert imported.timeline() == first
    imported.tell(UPDATED, subscription("sub_1", item("price_free")), NOW_S + 2)
    assert imported.plan() == "free"


def test_seats_have_a_price_of_their_own(imported: Imported) -> None:
    imported.tell(CREATED, subscription("sub_1", item("price_pro"), item("price_seats", 2)))
    current = imported.timeline().current
    assert current is not None
    assert current.quantity == 10


def test_who_a_customer_is(imported: Imported) -> None:
    imported.create("acme", "cus_1")
    imported.create("beta")
    imported.tell(CREATED, subscription("sub_1"))
    assert imported.plan("acme") == "pro"
    named = {"weighbridge_customer": "beta"}
    imported.tell(CREATED, subscription("sub_2", customer="cus_2", metadata=named))
    assert imported.plan("beta") == "pro"
    # By its external id from now on, without metadata.
    imported.tell(UPDATED, subscription("sub_2", item("price_free"), customer="cus_2"), NOW_S + 1)
    assert imported.plan("beta") == "free"
    taken = imported.tell(CREATED, subscription("sub_3", customer="cus_3", metadata=named)).taken
    assert (taken.state, "cus_2 in Stripe" in taken.reason) == (SET_ASIDE, True)
    assert imported.plan("beta") == "free"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_events_in_any_order_come_to_the_same(imported: Imported, order: tuple[int, ...]) -> None:
    told = [
        (CREATED, subscription("sub_1", item("price_free")), NOW_S),
        (UPDATED, subscription("sub_1", item("price_pro")), NOW_S),
        (UPDATED, subscription("sub_1", item("price_pro", 4)), NOW_S + 5),
    ]
    for index in order:
        imported.tell(*told[index])
    current = imported.timeline().current
    assert current is not None
    assert (current.plan, current.quantity) == ("pro", 4)
    # What is over stays over, also where the news of it came first.
    imported.tell(DELETED, subscription("sub_1", status="canceled"), NOW_S + 9)
    late = imported.tell(UPDATED, subscription("sub_1"), NOW_S + 8).taken
    assert (late.state, "older" in late.reason) == (IGNORED, True)
    assert imported.plan() is None


def test_deleted_before_it_was_known(imported: Imported) -> None:
    assert imported.tell(DELETED, subscription(status="canceled"), NOW_S + 9).taken.state is IGNORED
    assert imported.tell(CREATED, subscription()).taken.state is IGNORED
    assert imported.plan() is None


def test_each_event_once(imported: Imported) -> None:
    first = imported.tell(CREATED, subscription(), id_="evt_a")
    again = imported.tell(CREATED, subscription("sub_1", item("price_free")), id_="evt_a")
    assert (first.is_repeated, again.is_repeated) == (False, True)
    assert again.taken == first.taken
    assert imported.plan() == "pro"
    assert imported.counted == [("stripe", "applied"), ("stripe", "repeated")]


def test_what_is_not_from_stripe_does_nothing(imported: Imported) -> None:
    told = event("evt_1", CREATED, subscription())
    body, header = signed(told)
    old, forged = signed(told, at_s=NOW_S), signed(told, secret=f"{SECRET}x")
    for wrong in (
        (body.replace(b"price_pro", b"price_free"), header),
        (body, ""),
        (body, "t=1,v1=00"),
        (b"\xff", header),
        old,
        forged,
        signed({"id": "evt_1", "object": "event"}),
    ):
        with pytest.raises(InvalidArgumentError):
            imported.receive(*wrong)
    assert imported.events() == []
    assert imported.counted == [("stripe", "refused")] * 7


def test_payments_fail_and_pass_in_any_order(imported: Imported) -> None:
    imported.tell(CREATED, subscription())
    imported.tell("invoice.payment_failed", subscription_invoice(), NOW_S + 10)
    current = imported.timeline().current
    assert current is not None
    assert current.status is SubscriptionStatus.PAST_DUE
    assert current.status_until_ms == (NOW_S + 10 + 7 * DAY_S) * 1_000
    # Another attempt lengthens no grace, and neither does the subscription's own word.
    imported.tell("invoice.payment_failed", subscription_invoice(), NOW_S + DAY_S)
    imported.tell(UPDATED, subscription(status="past_due"), NOW_S + DAY_S + 1)
    assert imported.timeline().current == current
    assert imported.plan() == "pro"
    imported.now_ms = NOW_MS + 8 * DAY_S * 1_000
    assert imported.plan() is None
    imported.tell("invoice.paid", subscription_invoice(), NOW_S + 8 * DAY_S)
    assert imported.plan() == "pro"
    late = imported.tell("invoice.payment_failed", subscription_invoice(), NOW_S + 7 * DAY_S)
    assert late.taken.state is IGNORED
    assert imported.plan() == "pro"
    imported.tell(UPDATED, subscription(status="unpaid"), NOW_S + 9 * DAY_S)
    imported.now_ms = NOW_MS + 9 * DAY_S * 1_000
    assert imported.plan() is None


def test_an_invoice_may_come_before_its_subscription(imported: Imported) -> None:
    assert imported.tell("invoice.payment_failed", subscription_invoice(), NOW_S + 5).taken == (
        IGNORED,
        "is noted; its subscription does not stand here",
        "",
    )
    imported.tell(CREATED, subscription())
    current = imported.timeline().current
    assert current is not None
    assert current.status is SubscriptionStatus.PAST_DUE
    older = {"subscription": "sub_1", "parent": None}
    imported.tell("invoice.paid", {**subscription_invoice(), **older}, NOW_S + 6)
    current = imported.timeline().current
    assert current is not None
    assert current.status is SubscriptionStatus.ACTIVE


def test_the_first_payment_is_waited_for(imported: Imported) -> None:
    imported.tell(CREATED, subscription(status="incomplete"))
    assert imported.plan() is None
    imported.tell(UPDATED, subscription(), NOW_S + 1)
    assert imported.plan() == "pro"


def test_a_trial_is_stripes(imported: Imported) -> None:
    trial = {"status": "trialing", "trial_end": NOW_S + 14 * DAY_S}
    imported.tell(CREATED, subscription(**trial))
    timeline = imported.timeline()
    assert timeline.current is not None
    assert timeline.current.is_trial
    assert timeline.current.ends_at_ms == NOW_MS + 14 * DAY_S * 1_000
    assert [each.plan for each in timeline.coming] == ["pro"]
    imported.tell(UPDATED, subscription(**trial), NOW_S + 1)
    assert imported.timeline() == timeline
    leaving = {"cancel_at_period_end": True, "cancel_at": NOW_S + 14 * DAY_S}
    imported.tell(UPDATED, subscription(**trial, **leaving), NOW_S + 2)
    assert imported.timeline().coming == ()
    imported.tell(UPDATED, subscription(**trial), NOW_S + 3)
    assert [each.plan for each in imported.timeline().coming] == ["pro"]
    imported.tell(UPDATED, subscription(), NOW_S + 4)
    current = imported.timeline().current
    assert current is not None
    assert (current.is_trial, imported.timeline().coming) == (False, ())


def test_a_subscription_ends_with_its_period(imported: Imported) -> None:
    imported.tell(CREATED, subscription())
    imported.tell(UPDATED, subscription(cancel_at_period_end=True), NOW_S + 1)
    current = imported.timeline().current
    assert current is not None
    assert current.ends_at_ms == NOW_MS + 30 * DAY_S * 1_000
    imported.tell(UPDATED, subscription(), NOW_S + 2)
    current = imported.timeline().current
    assert current is not None
    assert current.ends_at_ms is None
    imported.tell(UPDATED, subscription(cancel_at=NOW_S + 3 * DAY_S), NOW_S + 3)
    imported.now_ms += 4 * DAY_S * 1_000
    assert imported.plan() is None
    assert imported.tell(DELETED, subscription(), NOW_S + 3 * DAY_S).taken.state is IGNORED


def test_pauses(imported: Imported) -> None:
    imported.tell(CREATED, subscription())
    void = {"behavior": "void", "resumes_at": NOW_S + DAY_S}
    imported.tell(UPDATED, subscription(pause_collection=void), NOW_S + 1)
    assert imported.plan() is None
    imported.tell("invoice.paid", subscription_invoice(), NOW_S + 2)
    assert imported.plan() is None
    draft = {"behavior": "keep_as_draft", "resumes_at": None}
    imported.tell(UPDATED, subscription(pause_collection=draft), NOW_S + 3)
    assert imported.plan() == "pro"
    imported.tell(UPDATED, subscription(status="paused"), NOW_S + 4)
    assert imported.plan() is None


def test_the_newer_of_two_subscriptions_stands(imported: Imported) -> None:
    imported.tell(CREATED, subscription("sub_1", item("price_free"), created=NOW_S - 100))
    imported.tell(CREATED, subscription("sub_2", created=NOW_S - 10))
    ended = imported.tell(DELETED, subscription("sub_1", created=NOW_S - 100), NOW_S + 1).taken
    assert (ended.state, "sub_2 is newer" in ended.reason) == (IGNORED, True)
    assert imported.plan() == "pro"
    imported.tell(DELETED, subscription("sub_2", created=NOW_S - 10), NOW_S + 2)
    assert imported.plan() is None


def test_what_cannot_be_applied_is_kept_and_replayed(imported: Imported) -> None:
    unknown = subscription("sub_1", item("price_new"))
    taken = imported.tell(CREATED, unknown, id_="evt_new").taken
    assert (taken.state, "'price_new'" in taken.reason) == (SET_ASIDE, True)
    assert imported.tell(CREATED, unknown, id_="evt_new").is_repeated
    gone = imported.tell(CREATED, subscription("sub_2", item("price_lost"), customer="cus_2")).taken
    assert (gone.state, "'gone'" in gone.reason) == (SET_ASIDE, True)
    # All or nothing: the customer was not made either.
    with pytest.raises(NotFoundError):
        imported.spend(1, "cus_2")
    assert {each.event.type for each in imported.events(SET_ASIDE)} == {CREATED}
    assert len(imported.events(SET_ASIDE)) == 2
    assert imported.replay("evt_new").taken.state is SET_ASIDE
    imported.configure([*PRICES, {"price": "price_new", "plan": "pro"}])
    assert imported.replay("evt_new").taken == (APPLIED, "", "cus_1")
    assert imported.plan() == "pro"
    with pytest.raises(FailedPreconditionError, match="not set aside"):
        imported.replay("evt_new")
    with pytest.raises(NotFoundError):
        imported.replay("evt_none")
    assert [each.event.payload for each in imported.events(APPLIED)] == [""]


def test_what_came_meanwhile_stands_when_an_older_event_is_replayed(imported: Imported) -> None:
    imported.tell(CREATED, subscription("sub_1", item("price_new")), id_="evt_new")
    imported.tell(UPDATED, subscription(), NOW_S + 1)
    imported.configure([*PRICES, {"price": "price_new", "plan": "free"}])
    assert imported.replay("evt_new").taken.state is IGNORED
    assert imported.plan() == "pro"


@pytest.mark.parametrize(
    "spoilt",
    [{"items": {"data": []}}, {"created": "soon"}, {"customer": None}, {"status": None}],
)
def test_what_stripe_would_not_send_is_kept_aside(imported: Imported, spoilt: object) -> None:
    assert isinstance(spoilt, dict)
    assert imported.tell(CREATED, subscription(**spoilt)).taken.state is SET_ASIDE


def test_other_events_change_nothing(imported: Imported) -> None:
    assert imported.tell("customer.created", {"id": "cus_1"}).taken.state is IGNORED
    assert imported.tell("checkout.session.completed", session(mode="setup")).taken.state is IGNORED


def test_events_are_listed_in_pages_and_forgotten(imported: Imported) -> None:
    for number in range(5):
        imported.now_ms += 1
        imported.tell("customer.created", {}, id_=f"evt_{number}")
    imported.tell(CREATED, subscription("sub_1", item("price_new")), id_="evt_aside")
    seen: list[str] = []
    token = ""
    while True:
        with imported.database.reading() as connection:
            page, token = list_events(connection, None, 2, token)
        seen += [each.event.id for each in page]
        if not token:
            break
    assert seen == ["evt_0", "evt_1", "evt_2", "evt_3", "evt_4", "evt_aside"]
    with imported.database.writing() as connection:
        assert prune_events(connection, imported.now_ms) == 0
        assert prune_events(connection, imported.now_ms + KEPT_MS + 1) == 5
    assert [each.event.id for each in imported.events()] == ["evt_aside"]
