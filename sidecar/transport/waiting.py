"""Calls that wait: for their customer to be loaded, or for units to be leased.

Bounded, and each within its own deadline. A waiting call holds nothing; when what it waits for is
here it is decided anew, as if it came then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

import grpc

from sidecar.core.decided import NotLoaded
from sidecar.core.gate import Gate
from sidecar.core.leases import Lack
from sidecar.core.moment import Moment
from sidecar.core.rate_shares import RateLack
from sidecar.transport.seam import Answer, Call, Pending, Seam, Status, Wait
from weighbridge.rules.lease import PoolKey
from weighbridge.rules.rate_share import RateKey

ANSWER_MARGIN_MS: Final = 100

Part = PoolKey | RateKey
Topic = str | tuple[Part, ...]
"""A customer, or the pools that have to have units together, or the rates to have shares of."""


class WaitingCalls:
    """The calls of a seam that wait."""

    def __init__(self, seam: Seam, gate: Gate, *, load_timeout_ms: int, waiters_max: int) -> None:
        self._seam = seam
        self._gate = gate
        self._load_timeout_ms = load_timeout_ms
        self._waiters_max = waiters_max
        self._waiting: dict[Topic, list[Pending]] = {}
        # The topics that name a pool or rate.
        self._of_part: dict[Part, set[Topic]] = {}
        self._count = 0
        # Calls that had to wait for their customer, and for units: read by the metrics.
        self.waited_for_customers = 0
        self.waited_for_units = 0
        # Told of a customer that nothing waited for before, and of units that a call lacks.
        self.on_load_wanted: Callable[[str], None] = _ignore
        self.on_lease_wanted: Callable[[Sequence[Lack]], None] = _ignore_lacks
        self.on_share_wanted: Callable[[Sequence[RateLack]], None] = _ignore_lacks
        seam.on_wait = self.wait

    def __len__(self) -> int:
        return self._count

    def customers(self) -> tuple[str, ...]:
        """Return the customers that calls wait for."""
        return tuple(topic for topic in self._waiting if isinstance(topic, str))

    def wait(self, call: Call, wait: Wait, moment: Moment) -> Answer:
        """Have a call wait."""
        topic = _topic_of(wait)
        if self._count >= self._waiters_max:
            detail = f"{_subject(topic)}, and {self._count} calls wait already"
            return Status(grpc.StatusCode.RESOURCE_EXHAUSTED, detail)
        expires_ms = moment.boot_ms + self._load_timeout_ms
        if call.deadline_ms is not None:
            # A little before the caller gives up, so that the reason still reaches it.
            expires_ms = min(expires_ms, call.deadline_ms - ANSWER_MARGIN_MS)
        pending = Pending(call, wait, expires_ms)
        if isinstance(wait, NotLoaded):
            self.waited_for_customers += 1
        else:
            self.waited_for_units += 1
        if topic not in self._waiting:
            self._begin(topic)
        self._waiting[topic].append(pending)
        self._count += 1
        self._want(pending, is_first=len(self._waiting[topic]) == 1)
        return pending

    def cancel(self, pending: Pending) -> None:
        """Drop a call that its caller gave up."""
        topic = _topic_of(pending.wait)
        waiting = self._waiting.get(topic)
        if waiting is not None and pending in waiting:
            waiting.remove(pending)
            self._count -= 1
            if not waiting:
                self._end(topic)

    def loaded(self, customer: str) -> None:
        """Decide the calls that waited for a customer."""
        self._decide([customer])

    def leased(self, parts: Collection[Part]) -> None:
        """Decide the calls that waited for units of these: some are here, or refused."""
        topics: dict[Topic, None] = {}
        for part in parts:
            topics.update(dict.fromkeys(self._of_part.get(part, ())))
        self._decide(topics)

    def ask_again(self) -> None:
        """Ask for the units that calls wait for: what was asked before is lost with its stream."""
        for topic, waiting in self._waiting.items():
            if not isinstance(topic, str):
                for pending in waiting:
                    self._want(pending, is_first=False)

    def tick(self, moment: Moment) -> None:
        """Answer calls that waited long enough; all of them when an outage has begun."""
        if not self._waiting:
            return
        if self._gate.is_outage(moment):
            self._decide(tuple(self._waiting))
            return
        overdue = [
            pending
            for waiting in self._waiting.values()
            for pending in waiting
            if pending.expires_ms <= moment.boot_ms
        ]
        for pending in overdue:
            self.cancel(pending)
            detail = f"{_subject(_topic_of(pending.wait))} in time; try again"
            pending.complete(Status(grpc.StatusCode.UNAVAILABLE, detail))

    def _want(self, pending: Pending, *, is_first: bool) -> None:
        if not isinstance(pending.wait, NotLoaded):
            if pending.wait.rates:
                self.on_share_wanted(pending.wait.rates)
            else:
                self.on_lease_wanted(pending.wait.lacks)
        elif is_first:
            self.on_load_wanted(pending.wait.customer)

    def _decide(self, topics: Collection[Topic]) -> None:
        waiting: list[Pending] = []
        for topic in topics:
            waiting += self._waiting.get(topic, ())
            self._end(topic)
        if not waiting:
            return
        self._count -= len(waiting)
        answers = self._seam.answer([pending.call for pending in waiting])
        for pending, answer in zip(waiting, answers, strict=True):
            if isinstance(answer, Pending):
                self._go_on(pending, answer)
            else:
                pending.complete(answer)

    def _go_on(self, pending: Pending, again: Pending) -> None:
        """Have a call that lacks something still, or something else now, wait on as itself.

        No longer than before; and its caller can still give it up.
        """
        pending.wait = again.wait
        pending.expires_ms = min(pending.expires_ms, again.expires_ms)
        waiting = self._waiting[_topic_of(again.wait)]
        waiting[waiting.index(again)] = pending

    def _begin(self, topic: Topic) -> None:
        self._waiting[topic] = []
        if not isinstance(topic, str):
            for part in topic:
                self._of_part.setdefault(part, set()).add(topic)

    def _end(self, topic: Topic) -> None:
        if self._waiting.pop(topic, None) is None or isinstance(topic, str):
            return
        for part in topic:
            topics = self._of_part[part]
            topics.discard(topic)
            if not topics:
                del self._of_part[part]


def _topic_of(wait: Wait) -> Topic:
    if isinstance(wait, NotLoaded):
        return wait.customer
    if wait.rates:
        return tuple(lack.key for lack in wait.rates)
    return tuple(lack.pool.key for lack in wait.lacks)


def _subject(topic: Topic) -> str:
    if isinstance(topic, str):
        return f"customer: {topic!r} could not be loaded"
    part = topic[0]
    what = "units" if isinstance(part, PoolKey) else "a share of a rate"
    return f"customer: {what} of {part.feature!r} for {part.customer!r} could not be leased"


def _ignore(_customer: str) -> None:
    return


def _ignore_lacks(_lacks: Sequence[Lack] | Sequence[RateLack]) -> None:
    return
