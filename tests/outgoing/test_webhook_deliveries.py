"""Deliveries to real receivers, with their faults: each message at least once, under one id."""

from __future__ import annotations

import asyncio
import json

import pytest
from sqlalchemy import Connection
from standardwebhooks import Webhook
from told import Told, until

from control_plane.notifying import EventType, Message, tell
from control_plane.notifying.deliveries import (
    RETENTION_MS,
    DeliveryState,
    prune_messages,
    shed,
)
from control_plane.notifying.endpoints import (
    delete_endpoint,
    list_endpoints,
    require_url,
    rotate_secret,
)
from control_plane.notifying.messages import GIVE_UP_AFTER_MS
from control_plane.notifying.queries import DeliveryQuery, list_deliveries
from control_plane.notifying.signing import new_secret
from examples.webhook_receiver import Receiver
from tests.recording_server import Answer, Recorded, recording_server
from tests.until import eventually
from weighbridge.rules.errors import InvalidArgumentError

PENDING, DELIVERED, DEAD = "pending", "delivered", "dead"


async def test_every_endpoint_that_wants_a_type_gets_it_signed(told: Told) -> None:
    with recording_server() as one, recording_server() as two:
        told.endpoint("one", one.url)
        told.endpoint("two", two.url, "credits.granted")
        told.endpoint("three", two.url, "top_up.failed")
        told.tell()
        deliverer = told.another()
        await until(deliverer, lambda: told.states("one") == told.states("two") == [DELIVERED])
        (first,), (second,) = one.requests, two.requests
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        said = told.verify("one", first)
        assert said == told.verify("two", second)
        assert (said["type"], said["version"]) == ("credits.granted", 1)
        assert said["data"] == {"customer": "acme", "number": 1}
        assert told.states("three") == []


async def test_what_is_rolled_back_is_told_to_nobody(told: Told) -> None:
    told.endpoint("one", "http://127.0.0.1:9/")
    message = Message(EventType.CREDITS_GRANTED, "acme", told.now_ms, {})

    def work(connection: Connection) -> None:
        tell(connection, [message], told.now_ms)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        told.write(work)
    assert told.rows("webhook_message") == told.rows() == []


async def test_failures_are_tried_again_later_under_the_same_id(told: Told) -> None:
    answers = [Answer(500), Answer(429, headers={"retry-after": "30"}), Answer(200)]
    with recording_server(lambda _: answers.pop(0)) as server:
        told.endpoint("one", server.url)
        told.tell()
        deliverer = told.another()
        await until(deliverer, lambda: bool(told.rows()[0].attempts))
        waits_ms = told.rows()[0].next_at_ms - told.now_ms
        assert 500 <= waits_ms <= 1_000
        assert told.rows()[0].error == "answered 500"
        told.now_ms += waits_ms
        await until(deliverer, lambda: told.rows()[0].attempts == 2)
        # Longer than its own backoff, because the receiver asks for it.
        assert told.rows()[0].next_at_ms == told.now_ms + 30_000
        told.now_ms += 30_000
        await until(deliverer, lambda: told.states("one") == [DELIVERED])
        assert len({request.headers["webhook-id"] for request in server.requests}) == 1
        assert len({request.body for request in server.requests}) == 1


async def test_work_done_without_an_answer_is_not_done_twice_by_the_example(told: Told) -> None:
    done = []
    told.endpoint("one", "http://127.0.0.1:9/")
    receiver = Receiver(told.secrets["one"], done.append)
    hanging = [True]

    def answer(request: Recorded) -> Answer:
        status = receiver.receive(request.headers, request.body)
        return Answer(status, hangs=hanging.pop() if hanging else False)

    with recording_server(answer) as server:
        told.write(lambda c: delete_endpoint(c, "one"))
        secret = told.secrets["one"]
        told.endpoint("one", server.url)
        told.write(lambda c: rotate_secret(c, "one", secret, told.now_ms))
        told.tell()
        deliverer = told.another(timeout_s=0.3)
        await until(deliverer, lambda: told.rows()[0].attempts == 1)
        assert "no answer within" in told.rows()[0].error
        told.now_ms += 1_000
        await until(deliverer, lambda: told.states("one") == [DELIVERED])
    assert len(server.requests) == 2
    assert [each["data"]["number"] for each in done] == [1]
    # Nor is what somebody else signed.
    assert receiver.receive({**server.requests[0].headers, "webhook-id": "x"}, b"{}") == 401


async def test_an_endpoint_that_hangs_keeps_no_other_waiting(told: Told) -> None:
    with recording_server(lambda _: Answer(hangs=True)) as dead, recording_server() as alive:
        told.endpoint("a-dead", dead.url)
        told.endpoint("b-alive", alive.url)
        told.tell(30)
        deliverer = told.another(timeout_s=15)
        await until(deliverer, lambda: told.states("b-alive") == [DELIVERED] * 30)
        assert len(alive.requests) == 30
        assert told.states("a-dead") == [PENDING] * 30
        assert len(dead.requests) <= 8


async def test_dead_letters_are_replayed_under_their_ids(told: Told) -> None:
    status = [500]
    with recording_server(lambda _: Answer(status[0])) as server:
        told.endpoint("one", server.url)
        told.tell(2)
        deliverer = told.another()
        deaths: list[int] = []
        deliverer.on_dead = deaths.append
        await until(deliverer, lambda: all(row.attempts == 1 for row in told.rows()))
        told.now_ms += GIVE_UP_AFTER_MS
        await until(deliverer, lambda: told.states("one") == [DEAD, DEAD])
        assert sum(deaths) == 2
        with told.database.reading() as connection:
            query = DeliveryQuery("one", DeliveryState.DEAD)
            listed = list_deliveries(connection, query)
            assert [each.status_code for each in listed] == [500, 500]
            assert list_endpoints(connection)[0].dead == 2
        status[0] = 200
        assert told.replay("one") == 2
        await until(deliverer, lambda: told.states("one") == [DELIVERED, DELIVERED])
        assert told.replay("one") == 0
        # One by its id, also when it was delivered.
        id_ = server.requests[0].headers["webhook-id"]
        assert told.replay("one", id_) == 1
        await until(deliverer, lambda: told.states("one") == [DELIVERED, DELIVERED])
        assert [r.headers["webhook-id"] for r in server.requests].count(id_) == 4


async def test_an_endpoint_that_is_gone_is_paused(told: Told) -> None:
    with recording_server(lambda _: Answer(410)) as server:
        told.endpoint("one", server.url)
        told.tell()
        deliverer = told.another()
        await until(deliverer, lambda: told.states("one") == [DEAD])
        told.tell()
        await deliverer.step()
        assert told.states("one").count(PENDING) == 1
        with told.database.reading() as connection:
            assert list_endpoints(connection)[0].endpoint.is_paused


async def test_several_control_planes_send_each_message_once(told: Told) -> None:
    with recording_server() as server:
        told.endpoint("one", server.url)
        told.tell(40)
        first, second = told.another(), told.another()

        def is_done() -> bool:
            return told.states("one") == [DELIVERED] * 40

        await asyncio.gather(until(first, is_done), until(second, is_done))
        ids = [request.headers["webhook-id"] for request in server.requests]
        assert len(ids) == len(set(ids)) == 40


async def test_what_a_control_plane_that_died_had_claimed_is_sent_by_another(told: Told) -> None:
    with recording_server(lambda _: Answer(hangs=True)) as server:
        told.endpoint("one", server.url)
        told.tell()
        dying = told.another(timeout_s=10)
        running = asyncio.create_task(dying.run())
        second = told.another()
        await eventually(lambda: bool(server.requests))
        await second.step()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.answer = lambda _: Answer()
        await second.step()
        assert len(server.requests) == 1
        told.now_ms += 40_001
        await until(second, lambda: told.states("one") == [DELIVERED])
        assert len({request.headers["webhook-id"] for request in server.requests}) == 1


async def test_a_redirect_is_not_followed_and_nobody_there_is_told_of(told: Told) -> None:
    with recording_server(lambda _: Answer(302, headers={"location": "/x"})) as server:
        told.endpoint("one", server.url)
        told.endpoint("two", "http://127.0.0.1:1/")
        told.tell()
        deliverer = told.another()
        await until(deliverer, lambda: all(row.attempts for row in told.rows()))
        assert len(server.requests) == 1
        errors = {row.endpoint_id: row.error for row in told.rows()}
        assert errors["one"] == "answered 302"
        assert errors["two"].startswith("ConnectError")


async def test_both_secrets_sign_for_a_day(told: Told) -> None:
    with recording_server() as server:
        told.endpoint("one", server.url)
        fresh = new_secret()
        told.write(lambda c: rotate_secret(c, "one", fresh, told.now_ms))
        told.tell()
        deliverer = told.another()
        await until(deliverer, lambda: told.states("one") == [DELIVERED])
        (request,) = server.requests
        assert told.verify("one", request) == Webhook(fresh).verify(request.body, request.headers)
        assert len(request.headers["webhook-signature"].split()) == 2
        told.now_ms += 24 * 3_600_000
        told.tell()
        await until(deliverer, lambda: told.states("one") == [DELIVERED] * 2)
        assert len(server.requests[1].headers["webhook-signature"].split()) == 1


def test_a_queue_that_is_too_long_loses_its_oldest_to_the_dead_letters(told: Told) -> None:
    told.endpoint("one", "http://127.0.0.1:9/")
    for _ in range(5):
        told.now_ms += 1
        told.tell()
    assert told.write(lambda c: shed(c, told.now_ms, queue_max=3)) == 2
    bodies = {
        row.id: json.loads(row.body)["data"]["number"] for row in told.rows("webhook_message")
    }
    dead = [bodies[row.message_id] for row in told.rows() if row.state == DEAD]
    assert sorted(dead) == [1, 2]


def test_old_messages_go_and_those_that_wait_stay(told: Told) -> None:
    told.endpoint("one", "http://127.0.0.1:9/")
    told.tell(2)
    assert told.write(lambda c: prune_messages(c, told.now_ms + RETENTION_MS)) == 0
    told.write(lambda c: shed(c, told.now_ms, queue_max=1))
    assert told.write(lambda c: prune_messages(c, told.now_ms + RETENTION_MS)) == 1
    assert told.states("one") == [PENDING]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://127.0.0.1/",
        "https://",
        "https://user@example.com/",
        "https://example.com/#part",
        "https://example.com/a b",
        "https://[::1",
        "https://example.com/" + "a" * 2_048,
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="url"):
        require_url("url", url)


def test_addresses_that_are_taken() -> None:
    for url in ("https://example.com/x?y=1", "http://127.0.0.1:80/", "http://[::1]:1/"):
        assert require_url("url", url) == url
