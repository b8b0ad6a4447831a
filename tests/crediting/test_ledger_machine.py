"""A ledger and a naive model of it do the same, whatever happens in whatever order."""

from __future__ import annotations

from collections import Counter
from typing import Any

from credited import LEDGER, Credited
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from control_plane.crediting.granting import book_expiries
from control_plane.crediting.queries import balances_at
from control_plane.storage.database import Database
from weighbridge.rules.credits import GrantKind
from weighbridge.rules.errors import FailedPreconditionError
from weighbridge.rules.ledger import Grant

amounts = st.integers(1, 40)
HOLDERS = ("lease-1", "lease-2")


class LedgerMachine(RuleBasedStateMachine):
    """The model has one item per micro-credit: the grant it is of, or what became of it."""

    def __init__(self) -> None:
        super().__init__()
        self._database = Database("sqlite://")
        self._database.migrate()
        self.credited = Credited(self._database)
        self.grants: dict[int, Grant] = {}
        self.left: Counter[int] = Counter()
        self.held: dict[str, int] = dict.fromkeys(HOLDERS, 0)
        self.ends: Counter[str] = Counter()
        self.charges: dict[str, int] = {}
        self.seen: dict[int, tuple[int, ...]] = {}

    def teardown(self) -> None:
        self._database.close()

    @property
    def now_ms(self) -> int:
        return self.credited.now_ms

    @rule(
        amount=amounts,
        kind=st.sampled_from(GrantKind),
        priority=st.integers(0, 1),
        starts_ms=st.integers(0, 4),
        lasts_ms=st.none() | st.integers(1, 6),
    )
    def grant(
        self, amount: int, kind: GrantKind, priority: int, starts_ms: int, lasts_ms: int | None
    ) -> None:
        effective_at_ms = self.now_ms + starts_ms
        expires_at_ms = None if lasts_ms is None else effective_at_ms + lasts_ms
        terms: dict[str, Any] = {"kind": kind, "priority": priority}
        terms |= {"effective_at_ms": effective_at_ms, "expires_at_ms": expires_at_ms}
        self._expire()
        made = self.credited.grant(amount, **terms)
        self.grants[made.number] = Grant(made.number, amount=amount, **terms)
        self.left[made.number] = amount
        self.ends["granted"] += amount

    @rule(amount=st.integers(0, 60), overage=st.sampled_from([0, 10, None]))
    def charge(self, amount: int, overage: int | None) -> None:
        self._charge(amount, overage, "")

    @rule(amount=st.integers(0, 60), holder=st.sampled_from(HOLDERS))
    def charge_of_a_holder(self, amount: int, holder: str) -> None:
        self._charge(amount, None, holder)

    def _charge(self, amount: int, overage: int | None, holder: str) -> None:
        available = self._available() + self._own(holder)
        key = self.credited.key()
        if overage is not None and amount > available + overage:
            before = self.credited.balance() if self.grants else None
            try:
                self.credited.charge(amount, key, overage_max=overage, holder=holder)
            except FailedPreconditionError:
                assert before is None or before == self.credited.balance()
                return
            raise AssertionError("charged more than there is")
        self._expire()
        posted = self.credited.charge(amount, key, overage_max=overage, holder=holder)
        again = self.credited.charge(amount, key, overage_max=overage, holder=holder)
        assert again.is_repeated
        assert again.entries == posted.entries
        self._follow(posted.entries)
        # In burn order: who burns later pays only where who burns sooner has nothing free.
        self.ends["settled"] += amount
        over = max(amount - available, 0)
        assert -dict(posted.entries).get("overage", 0) == over
        self.ends["overage"] += over
        self.charges[key] = amount
        if holder:
            self.held[holder] -= min(amount - over, self.held[holder])

    @precondition(lambda self: self.charges)
    @rule(data=st.data())
    def refund(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.charges)))
        left = self.charges[key]
        part = data.draw(st.none() | st.integers(1, max(left, 1)))
        if not left:
            try:
                self.credited.reverse(key, part)
            except FailedPreconditionError:
                return
            raise AssertionError("gave back what was given back")
        posted = self.credited.reverse(key, part)
        amount = left if part is None else part
        self.charges[key] -= amount
        self._follow(posted.entries)
        self.ends["settled"] -= amount
        self.ends["overage"] -= dict(posted.entries).get("overage", 0)

    @precondition(lambda self: self.grants)
    @rule(data=st.data(), change=st.integers(-30, 30).filter(bool))
    def adjust(self, data: st.DataObject, change: int) -> None:
        number = data.draw(st.sampled_from(sorted(self.grants)))
        try:
            posted = self.credited.adjust(number, change)
        except FailedPreconditionError:
            is_over = self.grants[number].is_over(self.now_ms)
            assert is_over or self._free(number) + change < 0
            return
        self._follow(posted.entries)
        self.ends["granted" if change > 0 else "withdrawn"] += abs(change)

    @rule(holder=st.sampled_from(HOLDERS), amount=amounts)
    def carve(self, holder: str, amount: int) -> None:
        wanted = min(amount, self._available())
        self._expire()
        carved = self.credited.carve(holder, amount)
        assert sum(part.amount for part in carved.parts) == wanted
        self.held[holder] += wanted

    @rule(holder=st.sampled_from(HOLDERS), amount=amounts)
    def give_back(self, holder: str, amount: int) -> None:
        amount = min(amount, self.held[holder])
        self.credited.give_back(holder, amount)
        self.held[holder] -= amount

    @rule(span_ms=st.integers(1, 3))
    def time_goes_on(self, span_ms: int) -> None:
        if self.grants:
            balance = self.credited.balance()
            self.seen[self.now_ms] = balance.totals
        self.credited.now_ms += span_ms

    @rule()
    def expire(self) -> None:
        self._expire()
        self.credited.expire()

    @invariant()
    def nothing_is_made_or_lost(self) -> None:
        self.credited.require_sound()
        if not self.grants:
            return
        balance = self.credited.balance()
        found = balance.totals._asdict()
        assert {name: self.ends[name] for name in found} == found
        assert self.credited.left() == {each: left for each, left in self.left.items() if left}
        assert balance.reserved == sum(self.held.values())
        assert balance.available == self._available()

    @invariant()
    def the_past_stays(self) -> None:
        if not self.seen:
            return
        at_ms = max(self.seen)
        with self.credited.database.reading() as connection:
            past = balances_at(connection, *LEDGER, at_ms)[LEDGER]
        if at_ms < self.now_ms:
            assert past.totals == self.seen[at_ms]

    def _follow(self, entries: tuple[Any, ...]) -> None:
        for account, amount in entries:
            if account.startswith("grant:"):
                self.left[int(account.removeprefix("grant:"))] += amount

    def _reserved(self) -> Counter[int]:
        found: Counter[int] = Counter()
        for row in self.credited.rows("credit_tranche"):
            found[row.grant_id] += row.amount
        return found

    def _free(self, number: int) -> int:
        return self.left[number] - self._reserved()[number]

    def _available(self) -> int:
        reserved = self._reserved()
        return sum(
            self.left[number] - reserved[number]
            for number, grant in self.grants.items()
            if grant.is_spendable(self.now_ms)
        )

    def _own(self, holder: str) -> int:
        rows = [each for each in self.credited.rows("credit_tranche") if each.holder == holder]
        return sum(
            row.amount for row in rows if self.grants[row.grant_id].is_spendable(self.now_ms)
        )

    def _expire(self) -> None:
        reserved = self._reserved()
        for number, grant in self.grants.items():
            if grant.is_over(self.now_ms) and self.left[number] and not reserved[number]:
                self.ends["expired"] += self.left[number]
                self.left[number] = 0
        self.credited.post(book_expiries)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
