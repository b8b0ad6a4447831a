"""Streams between sidecars and the control plane: ordered, late, and lost when they break."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from tests.simulation.machines import Timeline

Schedule = Callable[[int, Callable[[], None]], None]


class Upper(Protocol):
    """The control plane's end."""

    def opened(self, stream: Stream) -> None: ...
    def receive(self, stream: Stream, message: bytes) -> None: ...
    def ended(self, stream: Stream) -> None: ...


class Lower(Protocol):
    """The sidecar's end."""

    def receive(self, stream: Stream, message: bytes) -> None: ...
    def ended(self, stream: Stream) -> None: ...


class Stream:
    """One stream. Each end learns for itself, and at its own time, that it broke."""

    def __init__(self, network: Network, lower: Lower, upper: Upper, name: str) -> None:
        self._network = network
        self.name = name
        self.lower = lower
        self.upper = upper
        self.is_open_below = True
        self.is_open_above = True
        self.is_cut = False
        self._up_ms = self._down_ms = 0

    def send_up(self, message: bytes) -> None:
        if self.is_cut or not self.is_open_below:
            return
        self._up_ms = self._network.arrival_ms(self._up_ms)
        self._network.at(self._up_ms, lambda: self._arrive_above(message))

    def send_down(self, message: bytes) -> None:
        if self.is_cut or not self.is_open_above:
            return
        self._down_ms = self._network.arrival_ms(self._down_ms)
        self._network.at(self._down_ms, lambda: self._arrive_below(message))

    def close_below(self, *, loses: bool) -> None:
        """End it at the sidecar. What that sent is lost, or arrives still."""
        if not self.is_open_below:
            return
        self.is_open_below = False
        if loses:
            self.is_cut = True
        self._network.later(5_000, self._end_above)

    def close_above(self) -> None:
        """End it at the control plane, with all that was on its way up."""
        if not self.is_open_above:
            return
        self.is_open_above = False
        self._network.later(3_000, self._end_below)

    def cut(self) -> None:
        """Lose everything from now on; each end finds out when it is silent for too long."""
        self.is_cut = True

    def _arrive_above(self, message: bytes) -> None:
        if self.is_open_above and not self.is_cut:
            self.upper.receive(self, message)

    def _arrive_below(self, message: bytes) -> None:
        if self.is_open_below and not self.is_cut:
            self.lower.receive(self, message)

    def _end_above(self) -> None:
        if self.is_open_above:
            self.is_open_above = False
            self.upper.ended(self)

    def _end_below(self) -> None:
        if self.is_open_below and not self.is_cut:
            self.is_open_below = False
            self.lower.ended(self)


class Network:
    """How long messages take."""

    def __init__(self, timeline: Timeline, random: Random, schedule: Schedule) -> None:
        self._timeline = timeline
        self._random = random
        self._schedule = schedule
        self.delay_ms_max = 40
        self.slow_share = 0.02

    def at(self, at_ms: int, work: Callable[[], None]) -> None:
        self._schedule(at_ms - self._timeline.now_ms, work)

    def later(self, ms_max: int, work: Callable[[], None]) -> None:
        """Do something within a while."""
        self._schedule(self._random.randint(0, ms_max), work)

    def arrival_ms(self, last_ms: int) -> int:
        """Return when a message arrives, after those before it."""
        delay_ms = self._random.randint(1, self.delay_ms_max)
        if self._random.random() < self.slow_share:
            delay_ms += self._random.randint(0, 2_000)
        return max(last_ms, self._timeline.now_ms + delay_ms)
