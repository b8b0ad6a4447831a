"""A ledger whose balance is watched, with top-ups, for tests."""

from __future__ import annotations

import json
from typing import Any

from credited import Credited

from control_plane.crediting import Price
from control_plane.crediting.ordering import (
    OrderQuery,
    confirm_order,
    expire_orders,
    fail_order,
    list_orders,
)
from control_plane.crediting.schedule import release_due
from control_plane.crediting.top_up_rows import TopUpOrder
from control_plane.crediting.upkeep import ANSWER_WITHIN_MS
from control_plane.crediting.watches import look_at_due
from control_plane.crediting.watching import set_provider
from control_plane.notifying.endpoints import Endpoint, create_endpoint
from control_plane.notifying.signing import new_secret
from control_plane.storage.database import Database
from weighbridge.rules.top_up import OrderState, Provider

MICRO = 1_000_000
CATALOG = """
catalog: api
features: {calls: {type: metered}}
credit_types: {credits: {notify_below: [50, 10]}}
plans:
  free: {features: {calls: unlimited}}
  paid:
    extends: free
    top_ups: [{type: credits, threshold: 20, target: 100, monthly_cap: 250, price: {USD: 0.01}}]
"""


class Watched(Credited):
    """acme is on the plan with top-ups; the endpoint `hooks` is told of everything."""

    def __init__(self, database: Database, document: str = CATALOG) -> None:
        super().__init__(database, document)
        self.endpoint("hooks")

    def create(self, name: str, plan: str = "") -> None:
        super().create(name, "paid" if name == "acme" else plan)

    def endpoint(self, name: str, *types: str) -> None:
        new = Endpoint(name, "https://hooks.example.com/", types)
        self.write(lambda c: create_endpoint(c, new, new_secret(), self.now_ms))

    def watch(self) -> None:
        """Have balances watched as plans say, as upkeep does soon after each change."""
        while self.write(lambda c: release_due(c, self.library, self.now_ms)).is_more:
            pass

    def upkeep(self) -> None:
        self.watch()
        self.write(lambda c: expire_orders(c, ANSWER_WITHIN_MS, self.now_ms))
        self.write(lambda c: look_at_due(c, self.now_ms))

    def provider(self, provider: Provider) -> None:
        self.write(lambda c: set_provider(c, provider, self.now_ms))

    def orders(self) -> list[TopUpOrder]:
        """Return acme's orders, oldest first."""
        with self.database.reading() as connection:
            found = list_orders(connection, OrderQuery("acme", page_size=1_000))
        return sorted(found, key=lambda order: order.number)

    def states(self) -> list[OrderState]:
        return [order.state for order in self.orders()]

    def confirm(self, order: str, payment: str, price: Price | None = None) -> bool:
        """Pay an order; whether that payment had paid it before."""
        return self.write(lambda c: confirm_order(c, order, payment, price, self.now_ms))[1]

    def fail(self, order: str, reason: str = "") -> TopUpOrder:
        return self.write(lambda c: fail_order(c, order, reason, self.now_ms))

    def told(self, event_type: str) -> list[dict[str, Any]]:
        """Return what messages of a type say, oldest first."""
        rows = [row for row in self.rows("webhook_message") if row.event_type == event_type]
        rows.sort(key=lambda row: row.created_at_ms)
        return [json.loads(row.body)["data"] for row in rows]
