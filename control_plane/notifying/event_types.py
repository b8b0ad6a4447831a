"""The types of messages. `docs/webhooks.md` shows what each one says."""

from __future__ import annotations

from enum import Enum


class EventType(Enum):
    """What a message tells of."""

    USAGE_THRESHOLD_REACHED = "usage.threshold_reached"
    CREDITS_THRESHOLD_REACHED = "credits.threshold_reached"
    CREDITS_GRANTED = "credits.granted"
    CREDITS_TOPPED_UP = "credits.topped_up"
    TOP_UP_REQUESTED = "top_up.requested"
    TOP_UP_FAILED = "top_up.failed"
    WEBHOOK_TEST = "webhook.test"
