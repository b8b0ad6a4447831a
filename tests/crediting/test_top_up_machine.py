"""Orders, answers and payments in any order: money that was taken has its credits, once."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from watched import MICRO, Watched

from control_plane.storage.database import Database
from weighbridge.rules.errors import ConflictError, FailedPreconditionError
from weighbridge.rules.top_up import OrderState, month_of

CAP = 250 * MICRO


class TopUpMachine(RuleBasedStateMachine):
    """`paid` has the payment of each order that was paid: what a provider keeps for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database(f"sqlite:///{Path(self.folder.name) / 'db'}")
        self.database.migrate()
        self.watched = Watched(self.database)
        self.paid: dict[str, str] = {}
        self.late: set[str] = set()

    @initialize()
    def begin(self) -> None:
        self.watched.grant(100 * MICRO)
        self.watched.watch()

    @rule(amount=st.integers(1, 120))
    def charge(self, amount: int) -> None:
        left = self.watched.balance().available
        if left:
            self.watched.charge(min(amount * MICRO, left))

    @precondition(lambda self: self.watched.orders())
    @rule(data=st.data(), payment=st.integers(0, 5))
    def pay(self, data: st.DataObject, payment: int) -> None:
        order = data.draw(st.sampled_from(self.watched.orders()))
        id_ = f"pay-{payment}"
        known = self.paid.get(order.id)
        is_taken = id_ in self.paid.values() and known != id_
        try:
            is_repeated = self.watched.confirm(order.id, id_)
        except ConflictError:
            assert is_taken or known is not None
            return
        assert not is_taken
        assert is_repeated == (known == id_)
        if order.state not in (OrderState.REQUESTED, OrderState.PAID):
            self.late.add(order.id)
        self.paid[order.id] = id_

    @precondition(lambda self: self.watched.orders())
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        order = data.draw(st.sampled_from(self.watched.orders()))
        try:
            self.watched.fail(order.id)
        except FailedPreconditionError:
            assert order.id in self.paid

    @rule(hours=st.sampled_from([1, 5, 25, 24 * 31]))
    def wait(self, hours: int) -> None:
        self.watched.now_ms += hours * 3_600_000
        self.watched.upkeep()

    @invariant()
    def what_was_paid_was_granted_once(self) -> None:
        orders = {order.id: order for order in self.watched.orders()}
        paid = {id_ for id_, order in orders.items() if order.state is OrderState.PAID}
        assert paid == self.paid.keys()
        granted = {row.id: row.amount for row in self.watched.rows("credit_grant")}
        of_orders = {orders[id_].grant: orders[id_].amount for id_ in paid}
        assert len(of_orders) == len(paid)
        assert {grant: granted[grant or 0] for grant in of_orders} == of_orders
        assert len(granted) == len(of_orders) + 1

    @invariant()
    def one_is_open_and_the_cap_holds(self) -> None:
        orders = self.watched.orders()
        assert sum(order.state is OrderState.REQUESTED for order in orders) <= 1
        counted = (OrderState.REQUESTED, OrderState.PAID)
        for month in {month_of(order.requested_at_ms) for order in orders}:
            # Credits that were paid for after all, when the cap had gone to others, come on top.
            amounts = [
                order.amount
                for order in orders
                if month.contains(order.requested_at_ms)
                and order.state in counted
                and order.id not in self.late
            ]
            assert sum(amounts) <= CAP

    def teardown(self) -> None:
        self.watched.require_sound()
        self.database.close()
        self.folder.cleanup()


TestTopUps = TopUpMachine.TestCase
TestTopUps.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
