"""Webhooks and top-ups with real processes, a real receiver, the command line, and kill -9."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from examples.webhook_receiver import Receiver
from tests.end_to_end.world import World, catalog, consume, eventually
from tests.recording_server import Answer, Recorded, recording_server
from weighbridge.v1 import credit_service_pb2 as pb
from weighbridge.v1 import types_pb2
from weighbridge.v1.credit_service_pb2_grpc import CreditServiceStub

MESSAGES = 40
QUICK = {
    "WEIGHBRIDGE_CONTROL_PLANE_WEBHOOK_TIMEOUT_S": "1",
    "WEIGHBRIDGE_CONTROL_PLANE_WEBHOOK_BACKOFF_MS_MIN": "50",
    "WEIGHBRIDGE_CONTROL_PLANE_WEBHOOK_BACKOFF_MS_MAX": "200",
}
TOP_UPS = """    name: Free
    top_ups: [{type: ai, threshold: 20, target: 100, monthly_cap: 300, price: {USD: 0.50}}]
"""


def with_top_ups() -> str:
    plain = catalog().replace("    name: Free\n", TOP_UPS)
    return plain + "credit_types: {ai: {notify_below: [50]}}\n"


class Commands:
    """The command line, as somebody at a terminal has it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def run(self, *arguments: str) -> Any:
        where = (
            f"--control-plane=127.0.0.1:{self._world.grpc_port}",
            f"--token-file={self._world.data_dir / 'admin.token'}",
        )
        ended = subprocess.run(
            [sys.executable, "-m", "weighbridge.cli", *arguments, *where, "--json"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)


class Inbox:
    """What a receiver verified and did; `answers` come first."""

    def __init__(self) -> None:
        self.receiver: Receiver | None = None
        self.done: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.slow_s = 0.0
        self.answers: list[Answer] = []

    def listen(self, secret: str) -> None:
        self.receiver = Receiver(secret, self.done.append)

    def __call__(self, request: Recorded) -> Answer:
        time.sleep(self.slow_s)
        if self.receiver is None:
            return Answer(503)
        status = self.receiver.receive(request.headers, request.body)
        assert status == 204
        self.ids.append(request.headers["webhook-id"])
        return self.answers.pop() if self.answers else Answer(status)

    def of(self, event_type: str) -> list[dict[str, Any]]:
        return [each["data"] for each in self.done if each["type"] == event_type]


@pytest.fixture(name="inbox")
def an_inbox() -> Inbox:
    return Inbox()


def grant(world: World, key: str) -> None:
    """Grant acme a credit, once, whatever becomes of the control plane meanwhile."""
    request = pb.GrantCreditsRequest(
        customer="acme",
        credit_type="ai",
        key=key,
        kind=types_pb2.CREDIT_GRANT_KIND_MANUAL,
        amount_micro=1_000_000,
    )
    stub = CreditServiceStub(world._channel(f"127.0.0.1:{world.grpc_port}"))
    stub.GrantCredits(request, metadata=world.admin().metadata(), timeout=10, wait_for_ready=True)


def restart(world: World, **changes: str) -> None:
    world.control_plane.stop()
    world.control_plane.start(**QUICK, **changes)


def test_kill_9_during_delivery_loses_no_message_and_makes_no_other(
    world: World, inbox: Inbox
) -> None:
    restart(world)
    admin, cli = world.admin(), Commands(world)
    admin.apply(with_top_ups())
    inbox.slow_s = 0.05
    inbox.answers = [Answer(500), Answer(429, headers={"retry-after": "1"}), Answer(hangs=True)]
    with recording_server(inbox) as server:
        made = cli.run(
            "webhook", "endpoints", "create", "one", server.url, "--type=credits.granted"
        )
        inbox.listen(made["secret"])
        for number in range(MESSAGES):
            grant(world, f"key-{number}")
            if number in (MESSAGES // 2, MESSAGES - 2):
                eventually(lambda: len(inbox.ids) >= 3)
                world.control_plane.kill()
                world.control_plane.start(**QUICK)

        def all_done() -> bool:
            return len(inbox.of("credits.granted")) >= MESSAGES

        eventually(all_done, 60)
        listed = cli.run("webhook", "endpoints", "list")["endpoints"]
        eventually(
            lambda: not cli.run("webhook", "deliveries", "--state=pending")["deliveries"], 60
        )
    # Those that were sent twice came under one id: the work was done once.
    assert len(set(inbox.ids)) == len(inbox.done) == MESSAGES
    assert len({each["grant"] for each in inbox.of("credits.granted")}) == MESSAGES
    assert [each["id"] for each in listed] == ["one"]
    assert made["secret"] not in world.control_plane.log.read_text()


def test_a_balance_that_falls_is_topped_up_by_who_a_webhook_told(
    world: World, inbox: Inbox
) -> None:
    restart(world)
    cli = Commands(world)
    with recording_server(inbox) as server:
        inbox.listen(cli.run("webhook", "endpoints", "create", "one", server.url)["secret"])
        world.admin().apply(with_top_ups())
        # Who never had credits is asked to buy some at once.
        (asked,) = eventually(lambda: inbox.of("top_up.requested"))
        assert asked["prices"] == [{"currency": "USD", "amount_minor": 5_000}]
        order = asked["order"]
        cli.run("credits", "top-up", "fail", order, "--reason=too early")
        eventually(lambda: inbox.of("top_up.failed"))
        cli.run("credits", "grant", "acme", "ai", "100", "--key=first")
        # Seven of ten calls: 50 % of the limit.
        assert consume(world.api(), "acme", "api.calls", amount=7).decision.allowed
        (reached,) = eventually(lambda: inbox.of("usage.threshold_reached"))
        assert (reached["feature"], reached["percent"], reached["used"]) == ("api.calls", 50, 7)
        cli.run("credits", "charge", "acme", "ai", "60", "--key=used")
        (fallen,) = eventually(lambda: inbox.of("credits.threshold_reached"))
        assert fallen["unspent_micro"] == 40_000_000
        paid = cli.run("credits", "top-up", "confirm", order, "--payment=pi_1")
        assert paid["order"]["state"] == "PAID"
        world.control_plane.kill()
        world.control_plane.start(**QUICK)
        again = cli.run("credits", "top-up", "confirm", order, "--payment=pi_1")
        assert again["repeated_key"] is True
        eventually(lambda: inbox.of("credits.topped_up"))
    balances = cli.run("ledger", "balance", "acme")["balances"]
    assert int(balances[0]["available_micro"]) == 140_000_000
    cli.run("ledger", "verify")


def test_an_http_provider_is_asked_until_it_says(
    world: World, inbox: Inbox, tmp_path: Path
) -> None:
    secret = tmp_path / "top-up.secret"
    secret.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    inbox.listen(secret.read_text().strip())
    taken: dict[str, str] = {}

    def pay(request: Recorded) -> Answer:
        assert inbox(request).status == 204
        key = request.headers["idempotency-key"]
        is_first = key not in taken
        payment = taken.setdefault(key, f"pi_{len(taken)}")
        # The money is taken, and nobody hears of it.
        if is_first:
            return Answer(hangs=True)
        return Answer(200, {"status": "paid", "payment_id": payment})

    with recording_server(pay) as server:
        restart(
            world,
            WEIGHBRIDGE_CONTROL_PLANE_TOP_UP_PROVIDER="http",
            WEIGHBRIDGE_CONTROL_PLANE_TOP_UP_URL=server.url,
            WEIGHBRIDGE_CONTROL_PLANE_TOP_UP_SECRET_FILE=str(secret),
            WEIGHBRIDGE_CONTROL_PLANE_TOP_UP_TIMEOUT_S="0.5",
        )
        world.admin().apply(with_top_ups())
        cli = Commands(world)

        def paid() -> list[dict[str, Any]]:
            orders = cli.run("credits", "top-ups", "acme")["orders"]
            return [each for each in orders if each["state"] == "PAID"]

        (order,) = eventually(paid)
        assert taken == {order["id"]: order["payment_id"]}
        assert int(order["amount_micro"]) == 100_000_000
        assert len(set(inbox.ids)) == 1
        assert len(inbox.ids) >= 2
    balances = cli.run("ledger", "balance", "acme")["balances"]
    assert int(balances[0]["available_micro"]) == 100_000_000
