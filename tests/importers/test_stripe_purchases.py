"""Paid purchases open credits once, refunds withdraw them, in whatever order they are told."""

from __future__ import annotations

import itertools

import pytest
from imported import (
    DAY_S,
    NOW_S,
    PRICES,
    Imported,
    charge,
    invoice,
    line,
    session,
    subscription_invoice,
)

from control_plane.crediting.rows import find_transaction
from control_plane.importers.events import EventState

DONE = "checkout.session.completed"
PAID = "invoice.paid"
REFUNDED = "charge.refunded"
APPLIED, IGNORED, SET_ASIDE = EventState.APPLIED, EventState.IGNORED, EventState.SET_ASIDE


@pytest.fixture(autouse=True)
def acme(imported: Imported) -> None:
    imported.create("acme", "cus_1")


def test_a_paid_checkout_opens_credits_once(imported: Imported) -> None:
    assert imported.tell(DONE, session()).taken == (APPLIED, "", "acme")
    assert imported.credits() == 1_000
    again = imported.tell(DONE, session()).taken
    assert (again.state, "pi_1" in again.reason) == (IGNORED, True)
    # Its invoice is the same payment, told in the shape of an older API too.
    imported.tell(PAID, invoice("in_1", line("price_credits"), payment_intent="pi_1"))
    payments = {"data": [{"payment": {"type": "payment_intent", "payment_intent": "pi_1"}}]}
    imported.tell(PAID, invoice("in_2", line("price_credits"), payments=payments))
    imported.tell(PAID, invoice("in_2", line("price_credits")))
    assert imported.credits() == 1_000
    imported.now_ms = (NOW_S + 366 * DAY_S) * 1_000
    assert imported.credits() == 0


def test_lines_may_be_told(imported: Imported) -> None:
    lines = {"object": "list", "data": [{"price": {"id": "price_credits"}, "quantity": 3}]}
    imported.tell(DONE, session(line_items=lines, metadata={}))
    assert imported.credits() == 3_000
    bought = [line("price_credits", 2), line("price_setup"), line("price_credits")]
    imported.tell(PAID, invoice("in_9", *bought))
    assert imported.credits() == 6_000


def test_a_payment_link_is_a_price_too(imported: Imported) -> None:
    grant = {"credit_type": "credits", "amount": "0.5"}
    imported.configure([{"price": "plink_1", "grant": grant}])
    imported.tell(DONE, session(metadata=None, payment_link="plink_1"))
    assert imported.credits() == 0.5


def test_what_is_not_paid_opens_nothing(imported: Imported) -> None:
    assert imported.tell(DONE, session(payment_status="unpaid")).taken.state is IGNORED
    assert imported.credits() == 0
    imported.tell("checkout.session.async_payment_succeeded", session())
    assert imported.credits() == 1_000


def test_credits_on_the_invoice_of_a_subscription(imported: Imported) -> None:
    told = subscription_invoice("in_5")
    told["lines"] = {"data": [line("price_pro"), line("price_credits"), line("price_what")]}
    assert imported.tell(PAID, told).taken.state is APPLIED
    assert imported.credits() == 1_000


def test_who_bought_and_what_has_to_be_known(imported: Imported) -> None:
    nobody = session(customer=None, payment_intent="pi_2")
    taken = imported.tell(DONE, nobody, id_="evt_nobody").taken
    assert (taken.state, "nobody" in taken.reason) == (SET_ASIDE, True)
    named = session(customer=None, client_reference_id="acme", payment_intent="pi_3", id="cs_3")
    assert imported.tell(DONE, named).taken.state is APPLIED
    for wrong in (
        session(payment_intent="pi_4", id="cs_4", metadata={}),
        session(payment_intent="pi_4", id="cs_4", metadata={"weighbridge_price": "price_x"}),
        session(
            payment_intent="pi_4",
            id="cs_4",
            metadata={"weighbridge_price": "price_credits", "weighbridge_quantity": "-1"},
        ),
    ):
        assert imported.tell(DONE, wrong).taken.state is SET_ASIDE
    stranger = invoice("in_6", line("price_credits"), customer="cus_9")
    assert imported.tell(PAID, stranger, id_="evt_stranger").taken.state is SET_ASIDE
    assert imported.tell(PAID, invoice("in_7", line("price_what"))).taken.state is SET_ASIDE
    assert imported.credits() == 1_000
    imported.create("beta", "cus_9")
    assert imported.replay("evt_stranger").taken.state is APPLIED
    assert (imported.credits("beta"), imported.credits()) == (1_000, 1_000)


def test_a_credit_type_that_is_gone(imported: Imported) -> None:
    imported.configure([{"price": "p", "grant": {"credit_type": "gold", "amount": 1}}])
    taken = imported.tell(DONE, session(metadata={"weighbridge_price": "p"})).taken
    assert (taken.state, "'gold'" in taken.reason) == (SET_ASIDE, True)


def test_a_refund_withdraws_its_part_once(imported: Imported) -> None:
    imported.tell(DONE, session())
    imported.tell(REFUNDED, charge(500))
    assert imported.credits() == 750
    imported.tell(REFUNDED, charge(500))
    assert imported.credits() == 750
    imported.tell(REFUNDED, charge(1_001), NOW_S + 2)
    assert imported.credits() == 499.5
    # An older one that comes late.
    imported.tell(REFUNDED, charge(750), NOW_S + 1)
    assert imported.credits() == 499.5
    imported.tell(REFUNDED, charge(2_000), NOW_S + 3)
    assert imported.credits() == 0
    imported.tell(REFUNDED, charge(2_000), NOW_S + 3)
    assert imported.credits() == 0


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_refunds_in_any_order(imported: Imported, order: tuple[int, ...]) -> None:
    told = [(DONE, session()), (REFUNDED, charge(500)), (REFUNDED, charge(1_500))]
    for index in order:
        imported.tell(*told[index])
    assert imported.credits() == 250


def test_a_full_refund_is_a_reversal(imported: Imported) -> None:
    imported.tell(DONE, session())
    imported.tell(REFUNDED, charge(2_000, invoice=None))
    assert imported.credits() == 0
    with imported.database.reading() as connection:
        found = find_transaction(connection, "acme", "stripe:pi_1:0:refund:1000000000")
    assert found is not None
    assert found[0].kind.value == "reversal"


def test_spent_credits_are_told_and_withdrawn_when_they_are_there_again(
    imported: Imported,
) -> None:
    imported.tell(DONE, session())
    imported.spend(900)
    taken = imported.tell(REFUNDED, charge(1_000), id_="evt_refund").taken
    assert taken.state is SET_ASIDE
    assert taken.reason.startswith("400 credits")
    assert imported.credits() == 0
    assert imported.replay("evt_refund").taken.state is SET_ASIDE
    assert imported.credits() == 0


def test_a_refund_of_something_else(imported: Imported) -> None:
    taken = imported.tell(REFUNDED, charge(100, payment_intent="pi_other", id="ch_other")).taken
    assert taken.state is IGNORED


def test_what_lapsed_is_not_withdrawn(imported: Imported) -> None:
    imported.tell(DONE, session())
    imported.now_ms = (NOW_S + 366 * DAY_S) * 1_000
    assert imported.tell(REFUNDED, charge(2_000)).taken.state is APPLIED
    assert imported.credits() == 0


def test_a_plan_in_the_lines_buys_no_credits(imported: Imported) -> None:
    assert imported.tell(PAID, invoice("in_8", line("price_setup"))).taken.state is IGNORED
    imported.configure(PRICES)
    assert imported.credits() == 0
