"""The desk of rates: turns, time, changes of a rate, and what is forgotten."""

from __future__ import annotations

from control_plane.granting.rate_desk import (
    HeldShare,
    RateAck,
    RateAsk,
    RateDelivery,
    RateDesk,
    RateRequest,
)
from control_plane.granting.work import ShareTold
from weighbridge.rules.rate_share import NO_SHARE, UNIT_LEVEL, RateClaim, RateKey, RateShare

TTL_MS = 6_000
KEY = RateKey("acme", "", "calls", "fast")
WHOLE = RateShare(36_000_000, 4)


def asks(whole: RateShare = WHOLE, units: int = 1, revision: int = 1) -> RateRequest:
    return RateRequest((), [RateAsk(KEY, whole, RateClaim(None, units))], revision)


def acks(share: ShareTold, returned: int = 0, *, has_ended: bool = False) -> RateRequest:
    ack = RateAck(KEY, share.serial, returned * UNIT_LEVEL, has_ended)
    return RateRequest([ack], (), 1)


def told(deliveries: list[RateDelivery]) -> dict[object, ShareTold]:
    return {session: message.shares[-1] for session, message in deliveries}


def desk(*sidecars: str) -> RateDesk:
    made = RateDesk(TTL_MS)
    for sidecar in sidecars:
        assert not made.connect(sidecar, sidecar, (), 0)
    return made


def test_where_the_burst_does_not_reach_for_all_they_take_turns() -> None:
    made, whole = desk("a", "b"), RateShare(36_000_000, 1)
    first = told(made.request("a", asks(whole), 0))["a"]
    assert (first.share, first.added) == (whole, UNIT_LEVEL)
    waits = told(made.request("b", asks(whole), 0))
    assert (waits["b"].share, waits["b"].retry_in_ms) == (NO_SHARE, 1_000)
    assert not made.tick(999)
    assert made.is_busy
    turned = told(made.tick(1_000))
    assert turned["a"].share == NO_SHARE
    given = told(made.request("a", acks(turned["a"], 1), 1_001))["b"]
    assert (given.share, given.added) == (whole, UNIT_LEVEL)


def test_the_share_of_a_lost_sidecar_is_others_once_its_time_ran_out() -> None:
    made = desk("a", "b")
    made.request("a", asks(), 0)
    made.disconnect("a")
    made.renew("b", 5_000)
    waits = told(made.request("b", asks(), 5_000))["b"]
    assert (waits.share, waits.retry_in_ms) == (NO_SHARE, 1_000)
    assert not made.tick(5_999)
    given = told(made.tick(6_000))["b"]
    assert (given.share, given.added) == (WHOLE, 0)


def test_what_an_older_stream_says_counts_no_more() -> None:
    made = desk("a")
    made.request("a", asks(), 0)
    share = told(made.connect("again", "a", [HeldShare(KEY, WHOLE, WHOLE)], 10))["again"]
    assert (share.share, share.added) == (WHOLE, 0)
    assert not made.request("a", acks(share, 4, has_ended=True), 20)
    made.renew("a", 20)
    made.disconnect("a")
    assert made.shares == 1


def test_more_than_it_was_given_is_taken_back() -> None:
    made = desk("a")
    share = told(made.connect("again", "a", [HeldShare(KEY, WHOLE, WHOLE)], 10))["again"]
    assert share.share == NO_SHARE


def test_a_changed_rate_is_shared_out_anew_and_an_older_one_is_not() -> None:
    made = desk("a")
    made.request("a", asks(revision=5), 0)
    larger = RateShare(WHOLE.parts, 6)
    grown = told(made.request("a", asks(larger, revision=6), 0))["a"]
    assert (grown.share, grown.added) == (larger, 2 * UNIT_LEVEL)
    assert not made.request("a", asks(WHOLE, revision=5), 0)
    lower = told(made.request("a", asks(RateShare(100, 1), revision=7), 0))["a"]
    assert lower.share == RateShare(100, 1)
    assert not made.request("a", acks(lower, 5), 0)


def test_a_share_that_was_given_back_while_another_was_on_its_way_is_no_question() -> None:
    made = desk("a", "b")
    first = told(made.request("a", asks(), 0))["a"]
    shrunk = told(made.request("b", asks(), 0))["a"]
    # It gave the first one back before it heard of the second, and then takes that up.
    gone = made.request("a", acks(first, 4, has_ended=True), 10)
    given = told(gone)["b"]
    assert given.share == shrunk.share
    assert given.added == 2 * UNIT_LEVEL
    assert not made.request("a", acks(shrunk), 20)


def test_a_full_rate_that_nobody_has_is_forgotten() -> None:
    made = desk("a")
    share = told(made.request("a", asks(), 0))["a"]
    made.request("a", acks(share, 4, has_ended=True), 10)
    assert len(made) == 1
    made.renew("a", 11_000)
    made.tick(11_000)
    assert (len(made), made.is_busy) == (0, False)


def test_after_another_desk_it_waits_and_begins_empty() -> None:
    made = RateDesk(TTL_MS)
    made.fence(0)
    made.connect("a", "a", (), 10)
    waits = told(made.request("a", asks(), 1_000))["a"]
    assert (waits.share, waits.retry_in_ms) == (NO_SHARE, 5_000)
    made.request("a", asks(), 5_990)
    given = told(made.tick(6_000))["a"]
    assert (given.share, given.added) == (WHOLE, 0)
    other = RateKey("globex", "", "calls", "fast")
    request = RateRequest((), [RateAsk(other, WHOLE, RateClaim())], 1)
    made.renew("a", 6_000)
    assert told(made.request("a", request, 6_100))["a"].added == 100 * WHOLE.parts
