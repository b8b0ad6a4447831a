"""Sidecars and a desk on a simulated network: streams in order, delayed, broken; crashes."""

from __future__ import annotations

from collections import deque
from random import Random

from control_plane.granting import rate_desk
from control_plane.granting.rate_desk import HeldShare, RateDesk
from control_plane.granting.work import RateSharesTold
from sidecar.core.rate_shares import RateLack, RateShares, ShareGiven
from sidecar.core.rates import RateBuckets, Used
from weighbridge.rules.rate import Rate
from weighbridge.rules.rate_share import UNIT_LEVEL, RateKey, whole_share

TTL_MS = 8_000
MARGIN_MS = 2_000
BEAT_MS = 1_500
FEATURE = ("", "calls")


class Meter:
    """A bucket as large as the rate: what it ever lacks, was admitted too much in some span."""

    def __init__(self, rate: Rate) -> None:
        whole = whole_share(rate)
        self._parts, self._level_max = whole.parts, whole.burst * UNIT_LEVEL
        self.level, self._at_ms = self._level_max, 0
        self.admitted = 0

    def admit(self, units: int, now_ms: int) -> None:
        back = self._parts * (now_ms - self._at_ms)
        self.level = min(self.level + back, self._level_max) - units * UNIT_LEVEL
        self._at_ms = now_ms
        self.admitted += units


class Node:
    """A sidecar: its buckets, its clock and the stream it has."""

    def __init__(self, fleet: Fleet, name: str, offset_ms: int) -> None:
        self.fleet, self.name, self._offset_ms = fleet, name, offset_ms
        self.up: deque[tuple[int, object]] = deque()
        self.down: deque[tuple[int, object]] = deque()
        self.session: object | None = None
        self.paused_until_ms = 0
        self.restart()

    @property
    def now_ms(self) -> int:
        return self.fleet.now_ms + self._offset_ms

    def restart(self) -> None:
        self.shares = RateShares()
        self.buckets = RateBuckets(self.shares)
        self.term_ends_ms = 0
        self.tidied_ms = self.beat_ms = 0
        self.admitted = 0
        self.disconnect()

    def disconnect(self) -> None:
        if self.session is not None and self.fleet.random.random() < 0.7:
            self.fleet.desk.disconnect(self.session)
        self.session = None
        self.up.clear()
        self.down.clear()

    def connect(self) -> None:
        self.disconnect()
        self.session = object()
        held = [
            HeldShare(bucket.key, bucket.share, whole_share(bucket.rate))
            for bucket in self.shares.begin_stream(self.now_ms)
        ]
        self._send(("hello", self.now_ms, held))
        self.beat_ms = self.now_ms

    def call(self, rate: Rate, customer: str, units: int) -> bool:
        """Ask for units; what lacks a share is asked for."""
        used = Used(units, self.now_ms)
        (state,) = self.buckets.states(customer, FEATURE, [rate], self.now_ms)
        if not state.is_held:
            key = RateKey(customer, *FEATURE, rate.id)
            self.shares.want([RateLack(key, rate, units)], self.now_ms)
            return False
        if units * rate.period_ms > state.level:
            self.buckets.note_refused(customer, FEATURE, [rate], used)
            return False
        self.buckets.take(customer, FEATURE, [rate], used)
        self.admitted += units
        return True

    def work(self) -> None:
        if self.fleet.now_ms < self.paused_until_ms:
            return
        while self.down and self.down[0][0] <= self.fleet.now_ms:
            self._receive(self.down.popleft()[1])
        if self.now_ms - self.tidied_ms >= 250:
            self.tidied_ms = self.now_ms
            self.shares.tidy(self.now_ms, is_outage=False)
        if self.session is None:
            return
        if self.now_ms - self.beat_ms >= BEAT_MS:
            self.beat_ms = self.now_ms
            self._send(("beat", self.now_ms, None))
        request = self.shares.next_request(self.now_ms)
        if request is not None:
            self._send(("request", 0, request))

    def _send(self, message: object) -> None:
        after = self.up[-1][0] if self.up else 0
        self.up.append((max(after, self.fleet.now_ms + self.fleet.delay_ms()), message))

    def send_down(self, message: object) -> None:
        after = self.down[-1][0] if self.down else 0
        self.down.append((max(after, self.fleet.now_ms + self.fleet.delay_ms()), message))

    def _receive(self, message: object) -> None:
        if isinstance(message, int):
            ends_ms = message + TTL_MS - MARGIN_MS
            self.shares.begin_term(ends_ms, self.now_ms)
            return
        assert isinstance(message, RateSharesTold)
        given = [ShareGiven(*share) for share in message.shares]
        self.shares.receive(given, self.now_ms)
        if self.fleet.random.random() < 0.1:
            # Heard twice.
            self.shares.receive(given, self.now_ms)


class Fleet:
    """Sidecars on one desk."""

    def __init__(self, count: int, seed: int) -> None:
        self.random = Random(seed)
        self.now_ms = 1
        self.delay_ms_max = 20
        self.desk = RateDesk(TTL_MS)
        self.nodes = [
            Node(self, f"sidecar-{index}", self.random.randrange(10**6)) for index in range(count)
        ]
        for node in self.nodes:
            node.connect()

    def delay_ms(self) -> int:
        return self.random.randrange(self.delay_ms_max + 1)

    def restart_desk(self) -> None:
        for node in self.nodes:
            node.session = None
            node.up.clear()
            node.down.clear()
        self.desk = RateDesk(TTL_MS)
        self.desk.fence(self.now_ms)

    def step(self, milliseconds: int = 1) -> None:
        self.now_ms += milliseconds
        for node in self.nodes:
            while node.up and node.up[0][0] <= self.now_ms:
                self._take(node, node.up.popleft()[1])
        self._deliver(self.desk.tick(self.now_ms))
        for node in self.nodes:
            node.work()

    def _take(self, node: Node, message: object) -> None:
        kind, sent_ms, content = message  # type: ignore[misc]
        if kind == "hello":
            node.send_down(sent_ms)
            self._deliver(self.desk.connect(node.session, node.name, content, self.now_ms))
        elif kind == "beat":
            self.desk.renew(node.session, self.now_ms)
            node.send_down(sent_ms)
        else:
            acks = [rate_desk.RateAck(*ack) for ack in content.acks]
            asks = [rate_desk.RateAsk(*ask) for ask in content.asks]
            request = rate_desk.RateRequest(acks, asks, 1)
            self._deliver(self.desk.request(node.session, request, self.now_ms))

    def _deliver(self, deliveries: list[rate_desk.RateDelivery]) -> None:
        for session, message in deliveries:
            for node in self.nodes:
                if node.session is session:
                    node.send_down(message)
