"""A reservation for the time of a block: `Hold` for asyncio, `SyncHold` without."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from weighbridge.client import calls, reservation_calls, wire
from weighbridge.client.calls import Call, ReportOptions, ReserveOptions
from weighbridge.client.values import Decision, Released, Reservation, Reserved, Settlement
from weighbridge.rules.errors import WeighbridgeError


class _Held:
    """What both have: the hold as it is, and what is to become of it.

    True exactly where the work may begin. `used` is what the work used so far, as far as it says
    so: where the block ends without `settle`, that is settled; where it is None, all is released.
    """

    def __init__(self, subject: tuple[str, str], options: ReserveOptions) -> None:
        self._subject = subject
        self._options = options
        self._timeout_s = options.get("timeout_s")
        self._has_ended = False
        self.id = reservation_calls.reservation_id(options)
        self.used: int | None = None
        self._reserved: Reserved | None = None

    def __bool__(self) -> bool:
        return self.decision.allowed

    @property
    def decision(self) -> Decision:
        """The decision on what was asked for last."""
        assert self._reserved is not None, "it is made by `reservation`"
        return self._reserved.decision

    @property
    def reservation(self) -> Reservation | None:
        """The hold; None where it was refused, or where a fallback answered."""
        return None if self._reserved is None else self._reserved.reservation

    def _reserving(self, amount: int) -> Call[Reserved]:
        named: ReserveOptions = {**self._options, "reservation": self.id}
        return reservation_calls.reserve(self._subject, amount, named)

    def _extending(self, amount: int | None, ttl_s: float | None) -> Call[Reserved]:
        return reservation_calls.extend(self._whose(), amount, ttl_s, self._timeout_s)

    def _extended(self, answer: Reserved) -> Reserved:
        if answer.reservation is not None and answer:
            self._reserved = answer
        return answer

    def _settling(self, amount: int) -> Call[Settlement]:
        if self._reserved is None or not self._reserved.decision.allowed:
            raise RuntimeError("nothing is held, for it was refused; there is nothing to settle")
        if self._reserved.reservation is not None:
            return reservation_calls.settle(self._whose(), amount, self._timeout_s)
        # A fallback allowed the work: what it used is reported.
        options: ReportOptions = {"idempotency_key": self.id, "timeout_s": self._timeout_s}
        options["resource"] = self._options.get("resource", "")
        options["dimensions"] = self._options.get("dimensions", {})
        report = calls.report(self._subject, amount, options, generates_keys=False)
        return Call(
            method=report.method,
            request=report.request,
            answer=lambda reply: Settlement(wire.receipt_from_proto(reply)),
            timeout_s=report.timeout_s,
            idempotency_key=report.idempotency_key,
        )

    def _releasing(self) -> Call[Released]:
        return reservation_calls.release(self._whose(), self._timeout_s)

    def _ending(self) -> Call[Any] | None:
        """Return what is left to do when the block ends."""
        if self._has_ended or not self:
            return None
        if self.used is not None:
            return self._settling(self.used)
        return None if self.reservation is None else self._releasing()

    def _whose(self) -> tuple[str, str]:
        return (self._subject[0], self.id)


class Hold(_Held):
    """A reservation for the time of an `async with`."""

    def __init__(
        self,
        run: Callable[[Call[Any]], Awaitable[Any]],
        subject: tuple[str, str],
        options: ReserveOptions,
    ) -> None:
        super().__init__(subject, options)
        self._run = run

    async def reserve(self, amount: int) -> None:
        """Hold the amount, if all of it is free."""
        self._reserved = await self._run(self._reserving(amount))

    async def extend(self, amount: int | None = None, *, ttl_s: float | None = None) -> Reserved:
        """Hold so many units in all, or for so long from now. A refusal changes nothing."""
        return self._extended(await self._run(self._extending(amount, ttl_s)))

    async def settle(self, amount: int) -> Settlement:
        """Charge what the work really used, and end the hold."""
        self.used = amount
        settlement: Settlement = await self._run(self._settling(amount))
        self._has_ended = True
        return settlement

    async def release(self) -> Released:
        """End the hold and charge nothing."""
        released: Released = await self._run(self._releasing())
        self._has_ended = True
        return released

    async def end(self, error: BaseException | None) -> None:
        """Settle what the work said it used, else release, when the block ends."""
        try:
            ending = self._ending()
            if ending is not None:
                await self._run(ending)
        except WeighbridgeError as failure:
            _note_or_raise(error, self.id, failure)


class SyncHold(_Held):
    """A reservation for the time of a `with`. See `Hold`."""

    def __init__(
        self,
        run: Callable[[Call[Any]], Any],
        subject: tuple[str, str],
        options: ReserveOptions,
    ) -> None:
        super().__init__(subject, options)
        self._run = run

    def reserve(self, amount: int) -> None:
        """See `Hold.reserve`."""
        self._reserved = self._run(self._reserving(amount))

    def extend(self, amount: int | None = None, *, ttl_s: float | None = None) -> Reserved:
        """See `Hold.extend`."""
        return self._extended(self._run(self._extending(amount, ttl_s)))

    def settle(self, amount: int) -> Settlement:
        """See `Hold.settle`."""
        self.used = amount
        settlement: Settlement = self._run(self._settling(amount))
        self._has_ended = True
        return settlement

    def release(self) -> Released:
        """See `Hold.release`."""
        released: Released = self._run(self._releasing())
        self._has_ended = True
        return released

    def end(self, error: BaseException | None) -> None:
        """See `Hold.end`."""
        try:
            ending = self._ending()
            if ending is not None:
                self._run(ending)
        except WeighbridgeError as failure:
            _note_or_raise(error, self.id, failure)


def _note_or_raise(error: BaseException | None, hold: str, failure: WeighbridgeError) -> None:
    """Tell that a hold could not be ended; what the work itself raised goes first."""
    if error is None:
        raise failure
    error.add_note(f"the reservation {hold!r} could not be ended: {failure}")
