"""One stream to the control plane, sans-I/O: what to say, and what to make of what is heard."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from sidecar.core.clock import ControlPlaneClock
from sidecar.core.epochs import RecordMark
from sidecar.core.gate import Gate
from sidecar.core.moment import Moment
from sidecar.core.rate_shares import RateLack
from sidecar.core.snapshots import Mode
from sidecar.journal import Journal
from sidecar.uplink.applying import Applier
from sidecar.uplink.leasing import LeaseTalk
from sidecar.uplink.rate_sharing import RateTalk
from sidecar.uplink.sending import UsageSending
from weighbridge.rules.errors import FailedPreconditionError
from weighbridge.v1 import sync_service_pb2 as pb

_MODES: Final = {
    Mode.ALL: pb.SUBSCRIPTION_MODE_ALL,
    Mode.LISTED: pb.SUBSCRIPTION_MODE_LISTED,
    Mode.ON_DEMAND: pb.SUBSCRIPTION_MODE_ON_DEMAND,
}


class IdentityRefusedError(FailedPreconditionError):
    """The control plane knows another sidecar by this identity: the data directory was copied."""


class Session:
    """What the sidecar and the control plane tell each other; lives through reconnects."""

    def __init__(
        self,
        gate: Gate,
        journal: Journal,
        applier: Applier,
        sending: UsageSending,
        lease_talk: LeaseTalk,
        clock: ControlPlaneClock,
    ) -> None:
        self._gate = gate
        self._journal = journal
        self._applier = applier
        self._sending = sending
        self._lease_talk = lease_talk
        self.rate_talk = RateTalk(gate.rate_shares)
        self._clock = clock
        self._outgoing: deque[pb.SyncRequest] = deque()
        self._wanted: dict[str, None] = {}
        self._released: dict[str, None] = {}
        # The customers that calls wait for: asked for again on every stream.
        self.waited_for: Callable[[], Iterable[str]] = tuple
        self.is_welcome = False
        self.heartbeat_interval_ms = 0
        # Told that a stream began: what calls wait for is to be asked for again.
        self.on_welcome: Callable[[], None] = _nothing
        # Told that there is something to send.
        self.on_outgoing: Callable[[], None] = _nothing
        # Usage the control plane refused for good: reported, and read by the metrics.
        self.on_set_aside: Callable[[pb.UsageSetAside], None] = _ignore
        self.set_aside_records = 0
        # The control plane was put back to an earlier state: reported.
        self.on_start_over: Callable[[], None] = _nothing

    def hello(self, boot_id: str, software_version: str, boot_ms: int) -> pb.SyncRequest:
        """Begin a stream: say who this is and what it holds."""
        self._outgoing.clear()
        self._released.clear()
        self.is_welcome = False
        cache = self._gate.cache
        progress = self._applier.progress
        held = [
            pb.HeldVersion(id=c.id, version=c.version, addition=c.addition)
            for c in cache.catalogs()
        ]
        hello = pb.Hello(
            sidecar_id=self._journal.sidecar_id,
            epoch=self._journal.epoch,
            predecessor_epoch=self._journal.predecessor,
            boot_id=boot_id,
            software_version=software_version,
            mode=_MODES[cache.mode],
            held_revision=progress.revision,
            held_usage_revision=progress.usage_revision,
            incarnation=progress.incarnation,
            seen_revision=progress.seen_revision,
            seen_usage_revision=progress.seen_usage_revision,
            catalogs=held,
            customers=self._held_customers(),
            drafts=self._held_drafts(),
            acknowledged=[
                pb.RecordMark(sidecar_id=e.sidecar_id, epoch=e.epoch, number=e.settled_number)
                for e in self._journal.epochs()
            ],
        )
        self._lease_talk.begin_stream(hello, boot_ms)
        self.rate_talk.begin_stream(hello, boot_ms)
        return pb.SyncRequest(hello=hello)

    def receive(self, message: pb.SyncResponse, moment: Moment) -> None:
        """Take in a message. Raises IdentityRefusedError."""
        self._hear(message, moment)
        match message.WhichOneof("message"):
            case "welcome":
                self._welcome(message.welcome, moment)
            case "identity_refused":
                raise IdentityRefusedError(message.identity_refused.detail)
            case "heartbeat":
                heartbeat = message.heartbeat
                self._clock.heard(heartbeat.control_plane_now_unix_ms, moment.boot_ms)
                self._applier.progress.reached(heartbeat.revision, heartbeat.usage_revision)
                self._sending.promised(heartbeat.usage_revision)
                self._lease_talk.confirmed(heartbeat.number, moment.boot_ms)
                self._extend_shares(moment.boot_ms)
            case "usage_ack":
                ack = message.usage_ack
                self._sending.acknowledged(_mark(ack.mark), ack.usage_revision, moment.now_ms)
                self._lease_talk.settled()
                self.on_outgoing()
            case "usage_set_aside":
                self.set_aside_records += 1
                self.on_set_aside(message.usage_set_aside)
            case "lease_answer" | "lease_recall" | "lease_lift" | "rate_shares":
                self._receive_units(message, moment)
            case "initial_snapshot_complete":
                self._applier.apply(message)
                self._sending.caught_up()
                # From here on every message confirms that what is held is current.
                self._gate.link.is_connected = True
                self._gate.link.heard(moment.boot_ms)
            case _:
                self._apply(message)

    def next_message(self, boot_ms: int) -> pb.SyncRequest | None:
        """Return what to send next; None where there is nothing."""
        if not self.is_welcome:
            return None
        # First, for calls wait for it.
        urgent = self._next_of_leases(boot_ms)
        if urgent is None:
            urgent = self.rate_talk.next_request(self._applier.progress.revision, boot_ms)
        if urgent is not None:
            return urgent
        if self._released:
            # Before what is wanted: a customer let go and asked for again is to be followed.
            released = pb.UnsubscribeCustomers(customers=self._released)
            self._released.clear()
            return pb.SyncRequest(unsubscribe=released)
        if self._wanted:
            held = [pb.HeldVersion(id=customer) for customer in self._wanted]
            self._wanted.clear()
            return pb.SyncRequest(subscribe=pb.SubscribeCustomers(customers=held))
        if self._outgoing:
            return self._outgoing.popleft()
        usage = self._sending.next_batch()
        return None if usage is None else pb.SyncRequest(usage=usage)

    def _next_of_leases(self, boot_ms: int) -> pb.SyncRequest | None:
        if self._gate.leases.has_released:
            # What is asked for next may be what these records give back.
            self._gate.leases.has_released = False
            self._sending.is_due = True
            usage = self._sending.next_batch()
            if usage is not None:
                return pb.SyncRequest(usage=usage)
        return self._lease_talk.next_request(boot_ms)

    def want(self, customer: str) -> None:
        """Ask for a customer, whole: it is not here, or its totals are."""
        self._wanted[customer] = None
        self.on_outgoing()

    def want_shares(self, lacks: Iterable[RateLack], boot_ms: int) -> None:
        """Ask for shares of rates that calls wait for."""
        self._gate.rate_shares.want(lacks, boot_ms)
        self.on_outgoing()

    def usage_written(self) -> None:
        """Note that there is a new record to send."""
        if self._sending.has_batch:
            self.on_outgoing()

    def usage_due(self) -> None:
        """Let a batch go that is not full: to be called some twenty times a second."""
        self._sending.is_due = True
        self.usage_written()

    def release(self, customers: Iterable[str]) -> None:
        """Say that customers are no longer held."""
        for customer in customers:
            self._wanted.pop(customer, None)
            self._released[customer] = None
        self.on_outgoing()

    def beat(self, boot_ms: int) -> None:
        """Send a heartbeat."""
        heartbeat = pb.Heartbeat(number=self._lease_talk.next_beat(boot_ms))
        self._outgoing.append(pb.SyncRequest(heartbeat=heartbeat))
        self.on_outgoing()

    def ended(self) -> None:
        """Note that the stream is gone."""
        self.is_welcome = False
        self._gate.link.is_connected = False

    def _hear(self, message: pb.SyncResponse, moment: Moment) -> None:
        self._gate.link.heard(moment.boot_ms)
        if message.control_plane_now_unix_ms:
            self._clock.heard(message.control_plane_now_unix_ms, moment.boot_ms)
        self._applier.progress.saw(message.revision, message.usage_revision)

    def _welcome(self, welcome: pb.Welcome, moment: Moment) -> None:
        self._clock.begin_stream()
        self._clock.heard(welcome.control_plane_now_unix_ms, moment.boot_ms)
        self.heartbeat_interval_ms = welcome.heartbeat_interval_ms
        self._take_incarnation(welcome)
        self._sending.begin([_mark(mark) for mark in welcome.settled], moment.now_ms)
        self._lease_talk.settled()
        self.is_welcome = True
        self._lease_talk.welcome(welcome.lease_ttl_ms, moment.boot_ms)
        self._extend_shares(moment.boot_ms)
        self._wanted.update(dict.fromkeys(self.waited_for()))
        self.on_welcome()
        self.on_outgoing()

    def _receive_units(self, message: pb.SyncResponse, moment: Moment) -> None:
        if message.HasField("rate_shares"):
            self.rate_talk.receive(message.rate_shares, moment.boot_ms)
        else:
            self._lease_talk.receive(message, moment)
        self.on_outgoing()

    def _extend_shares(self, boot_ms: int) -> None:
        """Shares of rates may be spent as long as leases may."""
        self._gate.rate_shares.begin_term(self._gate.leases.term_ends_ms, boot_ms)

    def _take_incarnation(self, welcome: pb.Welcome) -> None:
        applier = self._applier
        if welcome.start_over:
            self.on_start_over()
        # What was restored without saying of which history it is counts as outdated already.
        if welcome.start_over or (
            self._gate.cache.is_outdated and not applier.progress.incarnation
        ):
            applier.start_over()
            # Nobody knows of the leases that are held, so others may be granted the same units.
            self._gate.leases.forget_all()
        applier.progress.incarnation = welcome.incarnation

    def _apply(self, message: pb.SyncResponse) -> None:
        answer = self._applier.apply(message)
        if answer is not None:
            self._outgoing.append(answer)
            self.on_outgoing()

    def _held_drafts(self) -> list[pb.HeldVersion]:
        drafts = () if self._gate.shadow is None else self._gate.shadow.drafts()
        return [pb.HeldVersion(id=d.compiler.catalog.id, version=d.number) for d in drafts]

    def _held_customers(self) -> list[pb.HeldVersion]:
        cache = self._gate.cache
        if cache.mode is Mode.ALL:
            return []
        held = {customer.id: cache.held_version(customer.id) for customer in cache.customers()}
        # Those that did not exist are asked about again: they may have been made since.
        # Those above a customer that is listed are held and followed with it.
        wanted = held.keys() | (cache.listed if cache.mode is Mode.LISTED else cache.absent())
        return [pb.HeldVersion(id=c, version=held.get(c, 0)) for c in sorted(wanted)]


def _mark(mark: pb.RecordMark) -> RecordMark:
    return RecordMark(mark.sidecar_id, mark.epoch, mark.number)


def _nothing() -> None:
    return


def _ignore(_set_aside: pb.UsageSetAside) -> None:
    return
