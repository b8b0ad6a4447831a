"""Calls that wait for their customer to be loaded: bounded, and each within its own deadline.

A waiting call holds nothing; when its customer is here it is decided anew, as if it came then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import grpc

from sidecar.core.gate import Gate
from sidecar.core.moment import Moment
from sidecar.transport.seam import Answer, Call, Pending, Seam, Status

ANSWER_MARGIN_MS: Final = 100


class WaitingCalls:
    """The calls of a seam that wait."""

    def __init__(self, seam: Seam, gate: Gate, *, load_timeout_ms: int, waiters_max: int) -> None:
        self._seam = seam
        self._gate = gate
        self._load_timeout_ms = load_timeout_ms
        self._waiters_max = waiters_max
        self._waiting: dict[str, list[Pending]] = {}
        self._count = 0
        # Told of a customer that nothing waited for before.
        self.on_load_wanted: Callable[[str], None] = _ignore
        seam.on_not_loaded = self.wait

    def __len__(self) -> int:
        return self._count

    def customers(self) -> tuple[str, ...]:
        """Return the customers that calls wait for."""
        return tuple(self._waiting)

    def wait(self, call: Call, customer: str, moment: Moment) -> Answer:
        """Have a call wait for a customer."""
        if self._count >= self._waiters_max:
            return Status(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"customer: {customer!r} is not loaded, and {self._count} calls wait already",
            )
        expires_ms = moment.boot_ms + self._load_timeout_ms
        if call.deadline_ms is not None:
            # A little before the caller gives up, so that the reason still reaches it.
            expires_ms = min(expires_ms, call.deadline_ms - ANSWER_MARGIN_MS)
        pending = Pending(call, customer, expires_ms)
        if customer not in self._waiting:
            self._waiting[customer] = []
            self.on_load_wanted(customer)
        self._waiting[customer].append(pending)
        self._count += 1
        return pending

    def cancel(self, pending: Pending) -> None:
        """Drop a call that its caller gave up."""
        waiting = self._waiting.get(pending.customer)
        if waiting is not None and pending in waiting:
            waiting.remove(pending)
            self._count -= 1
            if not waiting:
                del self._waiting[pending.customer]

    def loaded(self, customer: str) -> None:
        """Decide the calls that waited for a customer."""
        waiting = self._waiting.pop(customer, None)
        if waiting is not None:
            self._count -= len(waiting)
            self._decide(waiting)

    def tick(self, moment: Moment) -> None:
        """Answer calls that waited long enough; all of them when an outage has begun."""
        if not self._waiting:
            return
        if self._gate.is_outage(moment):
            for customer in list(self._waiting):
                self.loaded(customer)
            return
        overdue = [
            pending
            for waiting in self._waiting.values()
            for pending in waiting
            if pending.expires_ms <= moment.boot_ms
        ]
        for pending in overdue:
            self.cancel(pending)
            detail = f"customer: {pending.customer!r} could not be loaded in time; try again"
            pending.complete(Status(grpc.StatusCode.UNAVAILABLE, detail))

    def _decide(self, waiting: list[Pending]) -> None:
        answers = self._seam.answer([pending.call for pending in waiting])
        for pending, answer in zip(waiting, answers, strict=True):
            if isinstance(answer, Pending):
                # A BatchCheck whose next customer is missing too: it waits on under the new one.
                answer.on_done(pending.complete)
            else:
                pending.complete(answer)


def _ignore(_customer: str) -> None:
    return
