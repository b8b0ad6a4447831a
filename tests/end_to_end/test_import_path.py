"""Stripe's webhooks over HTTP: a customer is provisioned, pays, buys credits, is paid back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe
import yaml

from tests.end_to_end.world import World, catalog, check, eventually, free_ports
from weighbridge.v1 import credit_service_pb2 as credits_pb
from weighbridge.v1 import integration_service_pb2 as pb
from weighbridge.v1.credit_service_pb2_grpc import CreditServiceStub
from weighbridge.v1.integration_service_pb2_grpc import IntegrationServiceStub

SECRET = "whsec_0123456789abcdef"
PATH = "/v1/webhooks/stripe"


def configure(folder: Path) -> str:
    secret = folder / "stripe.secret"
    secret.write_text(SECRET, encoding="utf-8")
    secret.chmod(0o600)
    prices = [
        {"price": "price_free", "plan": "free"},
        {"price": "price_pro", "plan": "pro"},
        {"price": "price_credits", "grant": {"credit_type": "gold", "amount": 500}},
    ]
    path = folder / "imports.yaml"
    config = {"stripe": {"secret_file": str(secret), "prices": prices}}
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(path)


class Stripe:
    """Sends events as Stripe does, signed by its own package."""

    def __init__(self, world: World, port: int) -> None:
        self.world = world
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)
        self.began_s = time.time_ns() // 1_000_000_000 - 60

    def __call__(self, id_: str, type_: str, of: dict[str, Any], at_s: int = 0) -> Any:
        answer = self.post(self.event(id_, type_, of, at_s))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def event(self, id_: str, type_: str, of: dict[str, Any], at_s: int = 0) -> str:
        told = {"id": id_, "object": "event", "type": type_, "livemode": False}
        return json.dumps({**told, "created": self.began_s + at_s, "data": {"object": of}})

    def post(self, text: str, secret: str = SECRET, at_s: int = 0) -> httpx.Response:
        timestamp = at_s or time.time_ns() // 1_000_000_000
        header = stripe.WebhookSignature.generate_signature_header(text, secret, timestamp)
        return self.client.post(PATH, content=text, headers={"stripe-signature": header})

    def subscription(self, price: str, **changes: Any) -> dict[str, Any]:
        items = [{"id": "si_1", "price": {"id": price, "product": "prod_1"}, "quantity": 1}]
        return {
            "id": "sub_1",
            "object": "subscription",
            "customer": "cus_web",
            "status": "active",
            "created": self.began_s,
            "billing_cycle_anchor": self.began_s,
            "metadata": {"weighbridge_customer": "web"},
            "items": {"object": "list", "data": items},
            **changes,
        }

    def metric(self, outcome: str) -> float:
        _, text = self.world.control_plane.probe("/metrics")
        name = "weighbridge_control_plane_import_events_total"
        start = f'{name}{{outcome="{outcome}",source="stripe"}} '
        return sum(float(each.split()[1]) for each in text.splitlines() if each.startswith(start))


@pytest.fixture
def from_stripe(world: World) -> Iterator[Stripe]:
    (port,) = free_ports(1)
    world.admin().apply(catalog() + "credit_types: {gold: {}}\n")
    world.control_plane.stop()
    world.control_plane.set(
        WEIGHBRIDGE_CONTROL_PLANE_HTTP_LISTEN=f"127.0.0.1:{port}",
        WEIGHBRIDGE_CONTROL_PLANE_IMPORTS_FILE=configure(world.folder),
    )
    world.control_plane.start()
    sender = Stripe(world, port)
    yield sender
    sender.client.close()


def gold(world: World) -> float:
    stub = CreditServiceStub(world._channel(f"127.0.0.1:{world.grpc_port}"))
    request = credits_pb.GetBalancesRequest(customer="web", credit_type="gold")
    answer = stub.GetBalances(request, metadata=world.admin().metadata(), timeout=5)
    return sum(each.available_micro for each in answer.balances) / 1_000_000


def test_a_subscription_is_enforced_by_sidecars(from_stripe: Stripe) -> None:
    api = from_stripe.world.api()
    from_stripe("evt_1", "customer.subscription.created", from_stripe.subscription("price_pro"))
    eventually(lambda: check(api, "web", "sso").decision.allowed)
    update = from_stripe.subscription("price_free")
    from_stripe("evt_3", "customer.subscription.updated", update, 20)
    eventually(lambda: not check(api, "web", "sso").decision.allowed)
    # Out of order: what it says was so before.
    late = from_stripe.subscription("price_pro")
    assert from_stripe("evt_2", "customer.subscription.updated", late, 10)["state"] == "ignored"
    assert not check(api, "web", "sso").decision.allowed
    gone = from_stripe.subscription("price_free", status="canceled")
    from_stripe("evt_4", "customer.subscription.deleted", gone, 30)
    eventually(lambda: not check(api, "web", "api.calls").decision.allowed)


def test_a_purchase_counts_once_and_is_paid_back(from_stripe: Stripe) -> None:
    world = from_stripe.world
    from_stripe("evt_1", "customer.subscription.created", from_stripe.subscription("price_pro"))
    session = {
        "id": "cs_1",
        "object": "checkout.session",
        "mode": "payment",
        "payment_status": "paid",
        "customer": "cus_web",
        "payment_intent": "pi_1",
        "currency": "usd",
        "amount_total": 1_000,
        "metadata": {"weighbridge_price": "price_credits"},
    }
    told = [from_stripe("evt_2", "checkout.session.completed", session) for _ in range(3)]
    assert [each["repeated"] for each in told] == [False, True, True]
    assert gold(world) == 500
    # Killed and started again, it knows; and the payment is known under another event too.
    world.control_plane.kill()
    world.control_plane.start()
    assert from_stripe("evt_2", "checkout.session.completed", session)["repeated"]
    from_stripe("evt_3", "checkout.session.completed", session)
    assert gold(world) == 500
    charge = {"id": "ch_1", "amount": 1_000, "amount_refunded": 400, "payment_intent": "pi_1"}
    for _ in range(2):
        from_stripe("evt_4", "charge.refunded", charge)
    assert gold(world) == 300
    from_stripe("evt_5", "charge.refunded", {**charge, "amount_refunded": 1_000})
    assert gold(world) == 0


def test_what_is_forged_or_old_does_nothing(from_stripe: Stripe) -> None:
    subscription = from_stripe.subscription("price_pro")
    text = from_stripe.event("evt_1", "customer.subscription.created", subscription)
    for wrong in (
        from_stripe.post(text, secret="whsec_another_secret"),
        from_stripe.post(text, at_s=time.time_ns() // 1_000_000_000 - 1_000),
        from_stripe.client.post(PATH, content=text),
    ):
        assert wrong.status_code == 400, wrong.text
        assert wrong.json()["error"]["field"] == "stripe-signature"
    assert from_stripe.metric("refused") == 3
    assert from_stripe("evt_1", "customer.subscription.created", subscription)["state"] == "applied"


def test_what_is_not_mapped_is_kept_and_replayed(from_stripe: Stripe) -> None:
    world = from_stripe.world
    new = from_stripe.subscription("price_new")
    assert from_stripe("evt_1", "customer.subscription.created", new)["state"] == "set_aside"
    assert from_stripe.metric("set_aside") == 1
    stub = IntegrationServiceStub(world._channel(f"127.0.0.1:{world.grpc_port}"))
    listing = pb.ListImportedEventsRequest(state=pb.IMPORTED_EVENT_STATE_SET_ASIDE)
    metadata = world.admin().metadata()
    (kept,) = stub.ListImportedEvents(listing, metadata=metadata, timeout=5).events
    assert (kept.id, "price_new" in kept.reason) == ("evt_1", True)
    path = world.folder / "imports.yaml"
    config = yaml.safe_load(path.read_text())
    config["stripe"]["prices"].append({"price": "price_new", "plan": "pro"})
    path.write_text(yaml.safe_dump(config))
    world.control_plane.stop()
    world.control_plane.start()
    request = pb.ReplayImportedEventRequest(source="stripe", id="evt_1")
    replayed = stub.ReplayImportedEvent(request, metadata=metadata, timeout=5, wait_for_ready=True)
    assert replayed.event.state == pb.IMPORTED_EVENT_STATE_APPLIED
    eventually(lambda: check(world.api(), "web", "sso").decision.allowed)
