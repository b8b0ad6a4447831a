"""The control plane's clock as this sidecar knows it.

Windows follow the control plane's clock. It arrives with each Welcome and Heartbeat and is kept as
an offset to CLOCK_BOOTTIME, so a wall clock that steps on this machine changes nothing.
"""

from __future__ import annotations


class ControlPlaneClock:
    """Milliseconds since 1970 UTC on the control plane's clock.

    Before the control plane was heard, the wall clock of this machine stands in for it, corrected
    by what the two were apart when last heard.
    """

    def __init__(self, boot_ms: int, wall_ms: int) -> None:
        self._offset_ms = wall_ms - boot_ms
        self._is_first = True

    def assume(self, boot_ms: int, wall_ms: int, skew_ms: int) -> None:
        """Take this machine's wall clock for the control plane's, `skew_ms` apart."""
        self._offset_ms = wall_ms + skew_ms - boot_ms

    def now_ms(self, boot_ms: int) -> int:
        """Return the control plane's time at `boot_ms` on this machine's CLOCK_BOOTTIME."""
        return boot_ms + self._offset_ms

    def begin_stream(self) -> None:
        """Trust the next time heard, also where it lies behind the ones before."""
        self._is_first = True

    def heard(self, control_plane_now_ms: int, boot_ms: int) -> None:
        """Take in a time the control plane sent.

        The way here only ever makes it look earlier, so within one stream the latest offset wins;
        that also keeps `now_ms` from going back.
        """
        offset_ms = control_plane_now_ms - boot_ms
        if self._is_first or offset_ms > self._offset_ms:
            self._offset_ms = offset_ms
            self._is_first = False

    def skew_ms(self, boot_ms: int, wall_ms: int) -> int:
        """Return how far the control plane is ahead of this machine's wall clock."""
        return boot_ms + self._offset_ms - wall_ms
