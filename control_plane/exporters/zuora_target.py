"""Zuora: usage records by its REST API, one for each item, with an idempotency key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx

from control_plane.exporters.config import ZuoraExporter, ZuoraMeter
from control_plane.exporters.http_outcome import outcome_of, unanswered
from control_plane.exporters.instants import iso_instant
from control_plane.exporters.items import SENT, Item, ItemState, Outcome
from control_plane.exporters.pacing import Pace

DOUBT_MS: Final = 23 * 3_600_000
UNAUTHORIZED: Final = 401


class ZuoraTarget:
    """Sends items one by one, with a token that is fetched when it is needed."""

    system = "zuora"
    takes_negative = True
    window_of_doubt_ms: int | None = DOUBT_MS

    def __init__(self, config: ZuoraExporter, client_secret: str) -> None:
        self._config = config
        self._secret = client_secret
        self._meters: dict[str, ZuoraMeter] = {meter.key: meter for meter in config.meters}
        self._pace = Pace(config.requests_per_second_max)
        self._client = httpx.Client(
            base_url=config.base_url, timeout=config.timeout_s, trust_env=False
        )
        self._token = ""

    def send(self, items: Sequence[Item]) -> Mapping[int, Outcome]:
        """Send items in turn; once Zuora asks to wait, the rest waits with it."""
        outcomes: dict[int, Outcome] = {}
        waits: Outcome | None = None
        for item in items:
            outcome = waits or self._send(item)
            outcomes[item.id] = outcome
            if outcome.retry_after_s is not None:
                waits = outcome
        return outcomes

    def close(self) -> None:
        """Let connections go."""
        self._client.close()

    def _send(self, item: Item) -> Outcome:
        meter = self._meters.get(item.meter)
        if meter is None:
            return Outcome(ItemState.REFUSED, f"meter {item.meter!r} is not configured any more")
        self._pace.take()
        try:
            refused = self._authenticate()
            if refused is not None:
                return refused
            response = self._post(item, meter)
            if response.status_code == UNAUTHORIZED:
                # The token ran out: one new one, then it counts.
                self._token = ""
                refused = self._authenticate()
                response = self._post(item, meter) if refused is None else response
        except httpx.HTTPError as error:
            return unanswered(error)
        return _told(response)

    def _post(self, item: Item, meter: ZuoraMeter) -> httpx.Response:
        body: dict[str, Any] = {
            "AccountNumber": item.external,
            "UOM": meter.unit,
            "Quantity": item.quantity,
            "StartDateTime": iso_instant(item.window_start_ms),
            "EndDateTime": iso_instant(item.window_end_ms),
            "Description": item.identifier,
        }
        if meter.subscription:
            body["SubscriptionNumber"] = meter.subscription
        if meter.charge:
            body["ChargeNumber"] = meter.charge
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Idempotency-Key": item.identifier,
        }
        return self._client.post("/v1/object/usage", json=body, headers=headers)

    def _authenticate(self) -> Outcome | None:
        if self._token:
            return None
        form = {
            "grant_type": "client_credentials",
            "client_id": self._config.client_id,
            "client_secret": self._secret,
        }
        response = self._client.post("/oauth/token", data=form)
        if not response.is_success:
            return Outcome(ItemState.PENDING, f"no token: HTTP {response.status_code}")
        self._token = str(response.json()["access_token"])
        return None


def _told(response: httpx.Response) -> Outcome:
    """Return the outcome; Zuora also says in the body of a 200 that it refuses."""
    outcome = outcome_of(response)
    if outcome is not SENT:
        return outcome
    try:
        body = response.json()
    except ValueError:
        return Outcome(ItemState.PENDING, "the answer is no JSON")
    if body.get("Success", body.get("success", True)):
        return SENT
    return Outcome(ItemState.REFUSED, str(body.get("Errors") or body.get("reasons") or body))
