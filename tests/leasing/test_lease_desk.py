"""The desk alone: who waits, who is asked to give back, who is told what."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from leased import NOW_MS, calls_of, want

from control_plane.granting.desk import REQUESTS_PER_SIDECAR_MAX, Batch, Delivery, LeaseDesk
from control_plane.granting.refusals import ASKERS_PER_POOL_MAX, RefusedAskers
from control_plane.granting.work import (
    Elsewhere,
    Granted,
    LeaseAnswer,
    LeaseLift,
    LeaseNow,
    LeaseRecall,
    LeaseRequest,
    LeasesPosted,
    Short,
    Shortage,
    TermsRenewed,
)
from control_plane.leasing.accounts import EpochId, Gain
from control_plane.leasing.holding import HolderClaim, Returned
from weighbridge.rules.errors import ResourceExhaustedError

POOL = calls_of("acme")
RECALL_MS = 250


def epoch(name: str, number: int = 1) -> EpochId:
    return (name, f"e{number}")


def short(available: int, *held: Elsewhere, is_leased: bool = True) -> Short:
    return Short((Shortage(POOL, available, 100, None, held, is_leased),))


def granted() -> Granted:
    return Granted((LeaseNow(7, POOL, 5, 100),))


class Desk:
    """A desk with sessions named like their sidecars, and transactions that do as told."""

    def __init__(self) -> None:
        self.desk = LeaseDesk(RECALL_MS)
        self.now_ms = 1_000

    def connect(self, *names: str, number: int = 1) -> None:
        for name in names:
            claim = HolderClaim(epoch(name, number), (), {}, may_have_lost=False)
            self.desk.connect(f"{name}.{number}", claim)
        self.do()

    def ask(self, name: str, least: int = 5, number: int = 1) -> None:
        request = LeaseRequest(number, (), (want("acme", least),))
        self.desk.request(f"{name}.1", request)

    def give(self, name: str, lease: int) -> None:
        self.desk.request(f"{name}.1", LeaseRequest(0, (Returned(lease, 5, 5),), ()))

    def do(
        self, *answers: Granted | Short, gains: int | None = None, holders: tuple[str, ...] = ()
    ) -> list[Delivery]:
        batch = self.desk.take(self.now_ms)
        if batch is None:
            assert not answers
            return []
        return self.finish(batch, *answers, gains=gains, holders=holders)

    def finish(
        self,
        batch: Batch,
        *answers: Granted | Short,
        gains: int | None = None,
        holders: tuple[str, ...] = (),
    ) -> list[Delivery]:
        posted = LeasesPosted(NOW_MS, list(answers), {epoch(name) for name in holders})
        if gains is not None:
            posted.gains = [Gain(POOL, gains)]
        return self.desk.posted(batch, posted, (), self.now_ms)


@pytest.fixture
def desk() -> Desk:
    made = Desk()
    made.connect("a", "b", "c")
    return made


def answer(session: str, number: int = 1) -> Callable[[list[Delivery]], LeaseAnswer]:
    def find(deliveries: list[Delivery]) -> LeaseAnswer:
        found = [m for to, m in deliveries if to == session and isinstance(m, LeaseAnswer)]
        assert [each.number for each in found] == [number]
        return found[0]

    return find


def test_what_is_granted_is_told(desk: Desk) -> None:
    desk.ask("a")

    assert desk.do(granted()) == [("a.1", LeaseAnswer(1, granted().leases))]
    assert len(desk.desk) == 0


def test_what_others_hold_is_recalled_once_and_waited_for(desk: Desk) -> None:
    desk.ask("a")
    desk.ask("b")
    lacking = short(0, Elsewhere(3, epoch("c"), 10), Elsewhere(4, epoch("a"), 2))

    deliveries = desk.do(lacking, lacking)

    assert sorted(deliveries) == [("a.1", LeaseRecall((4,))), ("c.1", LeaseRecall((3,)))]
    assert desk.desk.due_in_ms(desk.now_ms) == RECALL_MS
    assert desk.do() == []


def test_units_that_come_back_serve_who_waited_longest_first(desk: Desk) -> None:
    desk.ask("a")
    desk.do(short(0, Elsewhere(3, epoch("c"), 10)))
    desk.ask("b")
    desk.give("c", 3)

    batch = desk.desk.take(desk.now_ms)
    assert batch is not None
    assert [asking.epoch for asking in batch.work.askings] == [epoch("a"), epoch("b")]
    assert [held for held, _ in batch.work.returns] == [epoch("c")]
    deliveries = desk.finish(batch, granted(), short(0))

    assert answer("a.1")(deliveries).leases
    assert answer("b.1")(deliveries).refusals


def test_a_recall_that_is_not_answered_ends_in_a_refusal(desk: Desk) -> None:
    desk.ask("a")
    lacking = short(2, Elsewhere(3, epoch("c"), 10), Elsewhere(9, epoch("gone"), 4))
    desk.do(lacking)
    desk.now_ms += RECALL_MS

    refusal = answer("a.1")(desk.do(lacking)).refusals[0]

    assert (refusal.available, refusal.unreachable, refusal.lapses_in_ms) == (2, 14, 30_000)
    assert len(desk.desk) == 0


def test_a_recall_that_all_answered_ends_at_once(desk: Desk) -> None:
    desk.ask("a")
    desk.do(short(0, Elsewhere(3, epoch("c"), 10)))
    desk.give("c", 3)

    refusal = answer("a.1")(desk.do(short(1, Elsewhere(3, epoch("c"), 9)))).refusals[0]

    assert (refusal.available, refusal.unreachable) == (1, 0)


def test_nothing_is_waited_for_where_nobody_connected_holds_any(desk: Desk) -> None:
    desk.ask("a")

    refusals = answer("a.1")(desk.do(short(0, Elsewhere(3, epoch("gone"), 10)))).refusals

    assert refusals[0].unreachable == 10


def test_what_is_no_limit_is_refused_for_a_moment(desk: Desk) -> None:
    desk.ask("a")

    refusals = answer("a.1")(desk.do(short(0, is_leased=False))).refusals

    assert refusals[0].lapses_in_ms == 1_000


def test_a_refusal_ends_with_the_window(desk: Desk) -> None:
    desk.ask("a")
    ending = Shortage(POOL, 0, 100, NOW_MS + 400)

    assert answer("a.1")(desk.do(Short((ending,)))).refusals[0].lapses_in_ms == 400


def test_as_many_refusals_are_lifted_as_the_units_serve(desk: Desk) -> None:
    for name in ("a", "b", "c"):
        desk.ask(name, least=4)
    desk.do(short(0), short(0), short(0))

    lifted = desk.desk.gained([Gain(POOL, 9)], desk.now_ms)
    assert lifted == [("a.1", LeaseLift((POOL,))), ("b.1", LeaseLift((POOL,)))]
    # Too few for what was refused: its next call may need less.
    assert desk.desk.gained([Gain(POOL, 3)], desk.now_ms) == [("c.1", LeaseLift((POOL,)))]
    desk.now_ms += 30_000
    assert desk.desk.gained([Gain(POOL, 9)], desk.now_ms) == []


def test_who_waits_is_served_before_refusals_are_lifted(desk: Desk) -> None:
    desk.ask("a", least=4)
    desk.do(short(0))
    desk.ask("b", least=4)
    desk.do(short(0, Elsewhere(3, epoch("c"), 10)))

    assert desk.desk.gained([Gain(POOL, 4)], desk.now_ms) == []
    deliveries = desk.do(granted(), gains=7)

    assert answer("b.1")(deliveries).leases
    assert ("a.1", LeaseLift((POOL,))) in deliveries


def test_a_stream_that_ends_is_answered_nothing(desk: Desk) -> None:
    desk.ask("a")
    batch = desk.desk.take(desk.now_ms)
    assert batch is not None
    desk.desk.disconnect("a.1")

    assert desk.finish(batch, granted()) == []
    assert len(desk.desk) == 0


def test_a_newer_stream_drops_what_the_older_one_asked(desk: Desk) -> None:
    desk.ask("a")
    desk.give("a", 3)
    desk.connect("a", number=2)

    assert desk.desk.take(desk.now_ms) is None
    assert not desk.desk.has("a.1")


def test_terms_are_extended_where_something_is_leased(desk: Desk) -> None:
    assert desk.desk.renew("a.1", 1) == (("a.1", TermsRenewed(1)),)
    desk.ask("a")
    desk.do(granted(), holders=("a",))

    assert desk.desk.renew("a.1", 2) == ()
    desk.desk.renew("a.1", 3)
    batch = desk.desk.take(desk.now_ms)
    assert batch is not None
    assert batch.work.renewed == {epoch("a")}
    assert desk.finish(batch) == [("a.1", TermsRenewed(3))]


def test_requests_of_a_sidecar_are_bounded(desk: Desk) -> None:
    for number in range(REQUESTS_PER_SIDECAR_MAX):
        desk.ask("a", number=number + 1)

    with pytest.raises(ResourceExhaustedError):
        desk.ask("a")


def test_work_that_cannot_be_done_is_forgotten(desk: Desk) -> None:
    desk.ask("a")
    batch = desk.desk.take(desk.now_ms)
    assert batch is not None

    assert desk.desk.failed(batch) == ["a.1"]
    assert len(desk.desk) == 0


def test_terms_are_looked_after_from_time_to_time(desk: Desk) -> None:
    assert desk.desk.take(desk.now_ms) is None
    desk.now_ms += desk.desk.due_in_ms(desk.now_ms)

    batch = desk.desk.take(desk.now_ms)
    assert batch is not None
    assert batch.work.is_tick


def test_refused_askers_are_bounded() -> None:
    refused = RefusedAskers()
    for number in range(ASKERS_PER_POOL_MAX + 5):
        refused.add(POOL, number, (1, 0), 10)

    assert len(refused) == ASKERS_PER_POOL_MAX
    assert refused.lift(POOL, 1, 0) == [5]
    refused.drop(6)
    assert refused.lift(POOL, 1, 0) == [7]
    assert refused.lift(POOL, 1, 10) == []
    assert len(refused) == 0


def test_units_too_few_for_what_was_refused_may_serve_what_comes_next() -> None:
    refused = RefusedAskers()
    refused.add(POOL, "one", (100, 5), 10)
    refused.add(POOL, "other", (100, 0), 10)

    assert refused.lift(POOL, 5, 0) == ["other"], "the first knows of 5, and needs more"
    assert refused.lift(POOL, 6, 0) == ["one"]
    assert len(refused) == 0
