"""The desk on the event loop: its work goes along with the transactions that settle usage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import Connection

from control_plane.granting.desk import Batch, Delivery, LeaseDesk, Session
from control_plane.granting.granter import Granter
from control_plane.granting.work import LeaseMessage, LeaseRequest, LeasesPosted, TermsRenewed
from control_plane.leasing.accounts import Gain
from control_plane.leasing.holding import HolderClaim
from control_plane.metering.counters import CounterCache
from control_plane.metering.queue import IngestQueue
from weighbridge.rules.errors import FailedPreconditionError, UnavailableError
from weighbridge.runtime.logs import get_logger

PAUSE_S_MIN = 0.005

_log = get_logger("leases")


class LeaseService:
    """Takes what streams say of leases, and hands them what the desk has for them.

    `clock_ms` never steps. `deliver` and `fail` are given the session that a stream said hello
    with.
    """

    def __init__(
        self, desk: LeaseDesk, granter: Granter, queue: IngestQueue, clock_ms: Callable[[], int]
    ) -> None:
        self._desk = desk
        self._granter = granter
        self._queue = queue
        self._clock_ms = clock_ms
        self._greeted: dict[Session, asyncio.Future[None]] = {}
        self._changed = asyncio.Event()
        self.deliver: Callable[[Session, LeaseMessage], None] = _drop
        self.fail: Callable[[Session, Exception], None] = _ignore
        self.on_posted: Callable[[LeasesPosted], None] = _forget
        queue.companion = self

    async def greet(self, session: Session, claim: HolderClaim) -> None:
        """Take in what a hello says of leases; return once that is committed.

        Raises FailedPreconditionError where a newer stream of the sidecar came meanwhile.
        """
        greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._greeted[session] = greeted
        self._desk.connect(session, claim)
        self._cancel_replaced()
        self._queue.wake()
        try:
            await greeted
        except BaseException:
            self._desk.disconnect(session)
            raise
        finally:
            self._greeted.pop(session, None)

    def disconnect(self, session: Session) -> None:
        """Drop a stream."""
        self._desk.disconnect(session)

    def renew(self, session: Session, number: int) -> None:
        """Take in a heartbeat; one without a number asks for nothing."""
        if not number:
            return
        self._send(self._desk.renew(session, number))
        self._queue.wake()

    def request(self, session: Session, request: LeaseRequest) -> None:
        """Take in a request. Raises ResourceExhaustedError where too many wait already."""
        self._desk.request(session, request)
        self._queue.wake()

    async def run(self) -> None:
        """Wake the desk when something is due, until cancelled."""
        while True:
            self._changed.clear()
            due_s = self._desk.due_in_ms(self._clock_ms()) / 1000
            try:
                async with asyncio.timeout(max(due_s, PAUSE_S_MIN)):
                    await self._changed.wait()
            except TimeoutError:
                self._queue.wake()

    def gained(self, gains: Sequence[Gain]) -> None:
        """Take in that pools have more than before: those who wait are tried, refusals lifted."""
        self._send(self._desk.gained(gains, self._clock_ms()))
        self._queue.wake()

    def take(self) -> Batch | None:
        """Return the work that waits."""
        return self._desk.take(self._clock_ms())

    def post(
        self, connection: Connection, work: Batch, cache: CounterCache, now_ms: int
    ) -> LeasesPosted:
        """Do the work, in a transaction."""
        return self._granter.post(connection, work.work, cache, now_ms)

    def posted(
        self, work: Batch | None, result: LeasesPosted | None, gains: Sequence[Gain]
    ) -> None:
        """Send what there is to say of what was committed."""
        now_ms = self._clock_ms()
        if work is None or result is None:
            self._send(self._desk.gained(gains, now_ms))
        else:
            self._send(self._desk.posted(work, result, gains, now_ms))
            self.on_posted(result)
        self._changed.set()
        # Who waits for what came back is tried again at once.
        self._queue.wake()

    def failed(self, work: Batch, error: Exception) -> None:
        """End the streams whose work cannot be done: it is said again with the next hello."""
        _log.error("lease work not done", error=str(error))
        for session in self._desk.failed(work):
            self._desk.disconnect(session)
            greeted = self._greeted.get(session)
            if greeted is not None and not greeted.done():
                greeted.set_exception(UnavailableError("leases cannot be looked up; try again"))
            else:
                self.fail(session, UnavailableError("leases cannot be given; connect again"))

    def _send(self, deliveries: Iterable[Delivery]) -> None:
        for session, message in deliveries:
            greeted = self._greeted.get(session)
            if greeted is None:
                self.deliver(session, message)
            elif isinstance(message, TermsRenewed) and not greeted.done():
                greeted.set_result(None)

    def _cancel_replaced(self) -> None:
        for session, greeted in self._greeted.items():
            if not self._desk.has(session) and not greeted.done():
                error = FailedPreconditionError("a newer stream of this sidecar took over")
                greeted.set_exception(error)


def _drop(_session: Session, _message: LeaseMessage) -> None:
    return


def _ignore(_session: Session, _error: Exception) -> None:
    return


def _forget(_posted: LeasesPosted) -> None:
    return
