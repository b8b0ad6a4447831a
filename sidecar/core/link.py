"""What is known of the link to the control plane: when it was last heard, and outages."""

from __future__ import annotations


class Link:
    """The state of the link. Instants are CLOCK_BOOTTIME milliseconds."""

    def __init__(self, started_ms: int, outage_after_ms: int) -> None:
        self._heard_ms = started_ms
        self._outage_after_ms = outage_after_ms
        self.is_connected = False
        # When the control plane last confirmed what is held; None: not since this process started,
        # and nothing was known before.
        self._confirmed_ms: int | None = None

    def heard(self, boot_ms: int) -> None:
        """Take note that a message came."""
        self._heard_ms = boot_ms
        if self.is_connected:
            self._confirmed_ms = boot_ms

    def confirmed(self, boot_ms: int) -> None:
        """All that is held was current at that time (it may lie before this process)."""
        self._confirmed_ms = boot_ms

    def is_outage(self, boot_ms: int) -> bool:
        """Whether the control plane has been silent for longer than allowed."""
        return boot_ms - self._heard_ms >= self._outage_after_ms

    def snapshot_age_ms(self, boot_ms: int) -> int | None:
        """Return how long ago what is held was last confirmed; None where it never was."""
        if self._confirmed_ms is None:
            return None
        return max(boot_ms - self._confirmed_ms, 0)
