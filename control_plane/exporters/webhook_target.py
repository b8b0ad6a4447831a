"""A generic webhook: each batch one request, signed by Standard Webhooks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import httpx

from control_plane.exporters.config import WebhookExporter
from control_plane.exporters.http_outcome import outcome_of, unanswered
from control_plane.exporters.instants import iso_instant
from control_plane.exporters.items import Item, Outcome
from control_plane.notifying.signing import require_secret, signed_headers
from weighbridge.rules.errors import InvalidArgumentError


class WebhookTarget:
    """Sends a batch as one request, whose id stays the same however often it is sent."""

    system = ""
    takes_negative = True
    window_of_doubt_ms: int | None = None

    def __init__(self, config: WebhookExporter, secret: str, now_ms: Callable[[], int]) -> None:
        self._config = config
        self._now_ms = now_ms
        try:
            self._secret = require_secret(secret)
        except ValueError as error:
            raise InvalidArgumentError(f"exporter {config.id}: secret_file", str(error)) from error
        self._client = httpx.Client(timeout=config.timeout_s, trust_env=False)

    def send(self, items: Sequence[Item]) -> Mapping[int, Outcome]:
        """Send one request."""
        batch = items[0].batch
        body = json.dumps(
            {
                "type": "usage.exported",
                "exporter": self._config.id,
                "batch": batch,
                "items": [_shape(item) for item in items],
            }
        )
        id_ = f"{self._config.id}-{batch}"
        headers = signed_headers(id_, body, (self._secret,), self._now_ms())
        headers["content-type"] = "application/json"
        try:
            response = self._client.post(self._config.url, content=body, headers=headers)
        except httpx.HTTPError as error:
            outcome = unanswered(error)
        else:
            outcome = outcome_of(response)
        return {item.id: outcome for item in items}

    def close(self) -> None:
        """Let connections go."""
        self._client.close()


def _shape(item: Item) -> dict[str, object]:
    return {
        "identifier": item.identifier,
        "meter": item.meter,
        "customer": item.customer,
        "resource": item.resource,
        "dimensions": dict(item.dimensions),
        "window_start": iso_instant(item.window_start_ms),
        "window_end": iso_instant(item.window_end_ms),
        "quantity": item.quantity,
    }
