"""A billing side that speaks HTTP: it provisions, reports usage, and asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.end_to_end.world import World, check, eventually, free_ports
from weighbridge.runtime.tokens import read_secret_file


class Http:
    """A client of the HTTP side."""

    def __init__(self, world: World, port: int) -> None:
        self.world = world
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)
        self.tokens = {
            name: read_secret_file(world.data_dir / f"{name}.token") for name in ("admin", "sync")
        }

    def __call__(
        self, verb: str, path: str, body: object = None, token: str = "admin", **headers: str
    ) -> httpx.Response:
        authorization = {"authorization": f"Bearer {self.tokens.get(token, token)}"}
        content = None if body is None else json.dumps(body)
        return self.client.request(
            verb, path, content=content, headers={**authorization, **headers}
        )

    def event(self, id_: str, **data: object) -> dict[str, object]:
        return {
            "specversion": "1.0",
            "id": id_,
            "source": "/billing",
            "type": "weighbridge.usage",
            "data": {"customer": "acme", "feature": "events", **data},
        }

    def report(self, *events: dict[str, object], token: str = "sync") -> httpx.Response:
        name = "application/cloudevents-batch+json"
        return self("POST", "/v1/events", list(events), token, **{"content-type": name})


@pytest.fixture
def http(world: World) -> Iterator[Http]:
    (port,) = free_ports(1)
    world.control_plane.stop()
    world.control_plane.set(WEIGHBRIDGE_CONTROL_PLANE_HTTP_LISTEN=f"127.0.0.1:{port}")
    world.control_plane.start()
    client = Http(world, port)
    yield client
    client.client.close()


def test_a_customer_is_provisioned_and_enforced(http: Http) -> None:
    made = http("POST", "/v1/customers", {"id": "web", "plan": "free", "name": "Web"})
    assert made.status_code == 200, made.text
    assert made.json()["customer"]["subscriptions"][0]["plan"] == "free"
    api = http.world.api()
    eventually(lambda: check(api, "web", "api.calls").decision.allowed)
    assert not check(api, "web", "sso").decision.allowed
    moved = http("PUT", "/v1/customers/web/subscription", {"plan": "pro"})
    assert moved.status_code == 200, moved.text
    eventually(lambda: check(api, "web", "sso").decision.allowed)
    limits = [{"id": "month", "limit": 3}]
    override = {"entitlement": {"feature": "api.calls", "enabled": True, "limits": limits}}
    assert http("PUT", "/v1/customers/web/overrides", override).status_code == 200
    eventually(lambda: not check(api, "web", "api.calls", 4).decision.allowed)
    path = "/v1/customers/web/overrides?feature=api.calls"
    assert http("DELETE", path).status_code == 200
    named = {"customer": "web", "system": "crm", "external_id": "0017"}
    assert http("PUT", "/v1/external-ids", named).status_code == 200
    listed = http("GET", "/v1/external-ids?customer=web").json()["external_ids"]
    assert listed == [named]


def test_mistakes_are_answered_with_one_error(http: Http) -> None:
    for answer, status, field in (
        (http("POST", "/v1/customers", {"id": "a b"}), 400, "id"),
        (http("POST", "/v1/customers", {"id": "acme", "plan": "free"}), 409, None),
        (http("POST", "/v1/customers", {"colour": "red"}), 400, "body"),
        (http("GET", "/v1/customers/nobody"), 404, None),
        (http("GET", "/v1/customers?page_size=-1"), 400, "page_size"),
        (http("GET", "/v1/customers?colour=red"), 400, "colour"),
        (http("PUT", "/v1/customers/acme/subscription", {"customer": "beta"}), 400, "customer"),
        (http("GET", "/v1/usage", token="wrong-token-0123456789"), 401, None),
        (http("GET", "/v1/usage", token="sync"), 401, None),
        (http.report({"specversion": "1.0"}), 400, "events[0]"),
    ):
        error = answer.json()["error"]
        assert answer.status_code == status, error
        assert set(error) <= {"code", "message", "field"}
        if field is not None:
            assert error["field"].startswith(field), error
    assert http.client.get("/v1/usage").status_code == 401
    assert http("POST", "/v1/customers", "no object").status_code == 400


def test_events_count_once_whoever_sends_them_again(http: Http) -> None:
    assert http.report(http.event("e-1", amount=3), http.event("e-2", amount=4)).json() == {
        "accepted": 2
    }
    assert http.report(http.event("e-2", amount=4), token="admin").status_code == 202

    def one(number: int) -> int:
        return http.report(http.event(f"many-{number % 50}", amount=1)).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(one, range(100))) == {202}
    rows = http("GET", "/v1/usage?customer=acme&feature=events").json()["rows"]
    assert [row["amount"] for row in rows] == ["57"]
    # Sidecars count it too.
    http.world.control_plane.kill()
    http.world.control_plane.start()
    assert http.report(http.event("e-1", amount=3), http.event("e-3", amount=1)).status_code == 202
    rows = http("GET", "/v1/usage?customer=acme&feature=events").json()["rows"]
    assert [row["amount"] for row in rows] == ["58"]


def test_the_interface_describes_itself(http: Http) -> None:
    document = http.client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        for verb in operations:
            answer = http(verb.upper(), path.replace("{id}", "acme").replace("{customer}", "acme"))
            if "{order}" in path and "does not exist" in answer.text:
                # The path is there, and the order is not.
                continue
            assert answer.status_code not in {404, 405, 500}, (verb, path, answer.text)
