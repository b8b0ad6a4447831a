"""An environment that imports from Stripe, and signed requests as Stripe sends them."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any, TypeVar

import stripe
import yaml

from control_plane import crediting, provisioning
from control_plane.crediting.conservation import not_conserved
from control_plane.crediting.queries import balances
from control_plane.crediting.verifying import verify_ledgers
from control_plane.importers.config import read_imports
from control_plane.importers.events import EventState, KnownEvent
from control_plane.importers.importing import Importing, Receipt
from control_plane.provisioning import CatalogLibrary, CatalogSource
from control_plane.provisioning.external_ids import ExternalId, set_external_id
from control_plane.provisioning.timeline import Timeline, load_timeline
from control_plane.storage.database import Database
from weighbridge.rules.credits import MICRO
from weighbridge.rules.errors import NotFoundError

T = TypeVar("T")

NOW_S = 1_764_000_000  # 2025-11-24T16:00:00Z
NOW_MS = NOW_S * 1_000
DAY_S = 86_400
SECRET = "whsec_0123456789abcdef"

CATALOG = """
catalog: api
features: {calls: {type: metered}}
credit_types: {credits: {}}
plans:
  free: {features: {calls: {limits: [{limit: 10, window: month}]}}}
  pro: {trial: {days: 30}, features: {calls: {limits: [{limit: 100, window: month}]}}}
add_ons:
  calls_50: {plans: [pro], features: {calls: {limits: [{id: month, limit: 50}]}}}
"""

PRICES = [
    {"price": "price_free", "plan": "free"},
    {"product": "prod_pro", "plan": "pro"},
    {"price": "price_calls", "add_on": "calls_50"},
    {"price": "price_seats", "seats": True, "times": 5},
    {
        "price": "price_credits",
        "grant": {"credit_type": "credits", "amount": 1000, "expires_after_days": 365},
    },
    {"price": "price_setup", "ignore": True},
    {"price": "price_lost", "plan": "gone"},
]


def item(price: str, quantity: int | None = 1) -> dict[str, Any]:
    product = f"prod_{price.removeprefix('price_')}"
    return {
        "id": f"si_{price}",
        "object": "subscription_item",
        "price": {"id": price, "object": "price", "product": product},
        "quantity": quantity,
        "current_period_end": NOW_S + 30 * DAY_S,
    }


def subscription(id_: str = "sub_1", *items: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "object": "subscription",
        "customer": "cus_1",
        "status": "active",
        "created": NOW_S - 60,
        "billing_cycle_anchor": NOW_S - 60,
        "metadata": {},
        "cancel_at": None,
        "cancel_at_period_end": False,
        "pause_collection": None,
        "trial_end": None,
        "items": {"object": "list", "data": list(items or (item("price_pro", 3),))},
        **changes,
    }


def subscription_invoice(id_: str = "in_1", of: str = "sub_1", **changes: Any) -> dict[str, Any]:
    details = {"type": "subscription_details", "subscription_details": {"subscription": of}}
    return invoice(id_, parent=details, **changes)


def line(price: str, quantity: int = 1, amount: int = 2_000) -> dict[str, Any]:
    details = {"price": price, "product": f"prod_{price.removeprefix('price_')}"}
    return {
        "object": "line_item",
        "amount": amount,
        "quantity": quantity,
        "pricing": {"type": "price_details", "price_details": details},
    }


def invoice(id_: str = "in_1", *lines: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "object": "invoice",
        "customer": "cus_1",
        "currency": "usd",
        "metadata": None,
        "parent": None,
        "lines": {"object": "list", "data": list(lines)},
        **changes,
    }


def session(**changes: Any) -> dict[str, Any]:
    return {
        "id": "cs_1",
        "object": "checkout.session",
        "mode": "payment",
        "payment_status": "paid",
        "customer": "cus_1",
        "client_reference_id": None,
        "payment_intent": "pi_1",
        "invoice": None,
        "payment_link": None,
        "currency": "usd",
        "amount_total": 2_000,
        "metadata": {"weighbridge_price": "price_credits"},
        **changes,
    }


def charge(refunded: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": "ch_1",
        "object": "charge",
        "amount": 2_000,
        "amount_captured": 2_000,
        "amount_refunded": refunded,
        "payment_intent": "pi_1",
        **changes,
    }


def event(id_: str, type_: str, of: dict[str, Any], at_s: int = NOW_S) -> dict[str, Any]:
    return {
        "id": id_,
        "object": "event",
        "api_version": "2025-09-30.clover",
        "created": at_s,
        "livemode": False,
        "type": type_,
        "data": {"object": of},
    }


def signed(told: dict[str, Any], secret: str = SECRET, at_s: int = 0) -> tuple[bytes, str]:
    """Return body and header, as Stripe's own package signs them."""
    text = json.dumps(told)
    timestamp = at_s or time.time_ns() // 1_000_000_000
    header = stripe.WebhookSignature.generate_signature_header(text, secret, timestamp)
    return text.encode(), header


def write_config(folder: Path, prices: list[dict[str, Any]], **stripe_keys: Any) -> Path:
    secret = folder / "stripe-webhook.secret"
    secret.write_text(SECRET, encoding="utf-8")
    secret.chmod(0o600)
    path = folder / "imports.yaml"
    config = {"stripe": {"secret_file": str(secret), "prices": prices, **stripe_keys}}
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


class Imported:
    """One environment; events arrive when the test says so."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.library = CatalogLibrary()
        self.now_ms = NOW_MS
        self.counted: list[tuple[str, str]] = []
        self.changed: list[str] = []
        self._events = 0
        source = CatalogSource(CATALOG, "c.yaml")
        with database.writing() as connection:
            provisioning.apply_catalog(connection, self.library, source, None, NOW_MS)
        self.configure(PRICES)

    def configure(self, prices: list[dict[str, Any]], **keys: Any) -> None:
        config = read_imports(write_config(self.folder, prices, **keys))
        self.importing = Importing(config, self.database, self.library, lambda: self.now_ms)
        self.importing.on_taken = lambda source, outcome: self.counted.append((source, outcome))
        self.importing.on_changed = self.changed.append

    def tell(self, type_: str, of: dict[str, Any], at_s: int = NOW_S, id_: str = "") -> Receipt:
        """Have Stripe send an event."""
        self._events += 1
        body, header = signed(event(id_ or f"evt_{self._events}", type_, of, at_s))
        return self.receive(body, header)

    def receive(self, body: bytes, header: str) -> Receipt:
        return asyncio.run(self.importing.receive_stripe(body, header))

    def replay(self, id_: str) -> KnownEvent:
        return asyncio.run(self.importing.replay("stripe", id_))

    def events(self, state: EventState | None = None) -> list[KnownEvent]:
        return asyncio.run(self.importing.list_events(state, 0, ""))[0]

    def create(self, customer: str, stripe_id: str = "") -> None:
        with self.database.writing() as connection:
            new = provisioning.NewCustomer(customer)
            provisioning.create_customer(connection, self.library, new, self.now_ms)
            if stripe_id:
                set_external_id(connection, ExternalId(customer, "stripe", stripe_id))

    def timeline(self, customer: str = "cus_1") -> Timeline:
        with self.database.reading() as connection:
            return load_timeline(connection, customer, "", self.now_ms)

    def plan(self, customer: str = "cus_1") -> str | None:
        """Return the plan that serves the customer now."""
        current = self.timeline(customer).current
        return current.plan if current is not None and current.is_active(self.now_ms) else None

    def credits(self, customer: str = "acme") -> float:
        with self.database.reading() as connection:
            try:
                found = balances(connection, customer, "credits", self.now_ms)
            except NotFoundError:
                return 0
        return sum(each.available for each in found.values()) / MICRO

    def spend(self, amount: int, customer: str = "acme") -> None:
        ledger = crediting.LedgerId(customer, "credits")
        with (
            self.database.writing() as connection,
            crediting.open_book(connection, ledger, self.now_ms) as book,
        ):
            self._events += 1
            crediting.charge(book, crediting.Charge(f"spent-{self._events}", amount * MICRO))

    def require_sound(self) -> None:
        with self.database.reading() as connection:
            assert verify_ledgers(connection).differences == ()
            assert not_conserved(connection, "", 100).broken == ()
