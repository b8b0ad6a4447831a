"""Stripe: billing meter events, one for each item, by the official package.

Stripe takes an identifier once within 24 hours at least, and timestamps of the last 35 days and
the next 5 minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import stripe

from control_plane.exporters.config import StripeExporter, StripeMeter
from control_plane.exporters.items import SENT, Item, ItemState, Outcome
from control_plane.exporters.pacing import Pace

DAY_MS: Final = 86_400_000
AGE_MS_MAX: Final = 35 * DAY_MS
DOUBT_MS: Final = 23 * 3_600_000
KNOWN_ALREADY: Final = "already exists with identifier"
TOO_MANY: Final = 429


class StripeTarget:
    """Sends items one by one, at the exporter's rate."""

    system = "stripe"
    takes_negative = False
    window_of_doubt_ms: int | None = DOUBT_MS

    def __init__(self, config: StripeExporter, api_key: str, now_ms: Callable[[], int]) -> None:
        self._meters: dict[str, StripeMeter] = {meter.key: meter for meter in config.meters}
        self._now_ms = now_ms
        self._pace = Pace(config.requests_per_second_max)
        self._http = stripe.RequestsClient(timeout=config.timeout_s)
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={"api": config.base_url},
            # Tried again here, with the same identifier, and noted.
            max_network_retries=0,
            http_client=self._http,
        )

    def send(self, items: Sequence[Item]) -> Mapping[int, Outcome]:
        """Send items in turn; once Stripe asks to wait, the rest waits with it."""
        outcomes: dict[int, Outcome] = {}
        waits: Outcome | None = None
        for item in items:
            if waits is None:
                outcomes[item.id] = self._send(item)
                if outcomes[item.id].retry_after_s is not None:
                    waits = outcomes[item.id]
            else:
                outcomes[item.id] = waits
        return outcomes

    def close(self) -> None:
        """Let connections go."""
        self._http.close()  # type: ignore[no-untyped-call]

    def _send(self, item: Item) -> Outcome:
        if self._now_ms() - item.window_start_ms > AGE_MS_MAX:
            problem = "is older than the 35 days that Stripe takes usage of; bill it by hand"
            return Outcome(ItemState.REFUSED, problem)
        meter = self._meters.get(item.meter)
        if meter is None:
            return Outcome(ItemState.REFUSED, f"meter {item.meter!r} is not configured any more")
        self._pace.take()
        try:
            self._client.v1.billing.meter_events.create(
                params={
                    "event_name": meter.event_name,
                    "payload": {
                        meter.customer_key: item.external,
                        meter.value_key: str(item.quantity),
                    },
                    "identifier": item.identifier,
                    "timestamp": item.window_start_ms // 1_000,
                },
                options={"idempotency_key": item.identifier},
            )
        except stripe.StripeError as error:
            return _outcome(error)
        return SENT


def _outcome(error: stripe.StripeError) -> Outcome:
    message = f"{type(error).__name__}: {error.user_message or error}"
    if isinstance(error, stripe.RateLimitError) or error.http_status == TOO_MANY:
        return Outcome(ItemState.PENDING, message, _retry_after_s(error) or 1.0)
    if isinstance(error, stripe.InvalidRequestError):
        # An earlier attempt arrived, whose answer did not.
        known = KNOWN_ALREADY in str(error)
        return SENT if known else Outcome(ItemState.REFUSED, message)
    if isinstance(error, stripe.IdempotencyError):
        return Outcome(ItemState.UNCLEAR, message)
    return Outcome(ItemState.PENDING, message)


def _retry_after_s(error: stripe.StripeError) -> float | None:
    headers = error.headers or {}
    found = headers.get("Retry-After") or headers.get("retry-after")
    try:
        return None if found is None else float(found)
    except ValueError:
        return None
