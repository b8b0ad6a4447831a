"""Stripe's meter events, as far as exports need them: an identifier counts once."""

from __future__ import annotations

from tests.recording_server import Answer, Recorded


class FakeStripe:
    """Keeps meter events by identifier, as Stripe does: the first one counts."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, str]] = {}
        self.faults: list[Answer] = []

    def __call__(self, request: Recorded) -> Answer:
        assert request.path == "/v1/billing/meter_events"
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None and not fault.hangs:
            return fault
        form = request.form
        if form["identifier"] in self.events:
            said = f"An event already exists with identifier {form['identifier']}."
            return Answer(400, {"error": {"type": "invalid_request_error", "message": said}})
        self.events[form["identifier"]] = form
        if fault is not None:
            # Written, and the answer never comes.
            return fault
        return Answer(200, {"object": "billing.meter_event", "identifier": form["identifier"]})

    def units(self, customer: str) -> int:
        return sum(
            int(form["payload[value]"])
            for form in self.events.values()
            if form["payload[stripe_customer_id]"] == customer
        )
