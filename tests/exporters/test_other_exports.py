"""Usage to Zuora, to files, and to a webhook."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from exported import HOUR_MS, Exported, run
from pyarrow import parquet
from standardwebhooks import Webhook

from control_plane.exporters.items import ItemState
from control_plane.exporters.pacing import Pace
from tests.recording_server import Answer, Recorded, recording_server

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class FakeZuora:
    """Gives tokens, and keeps usage by idempotency key."""

    def __init__(self) -> None:
        self.usage: dict[str, dict[str, object]] = {}
        self.tokens = 0
        self.spoiled: set[str] = set()
        self.refuses = ""

    def __call__(self, request: Recorded) -> Answer:
        if request.path == "/oauth/token":
            assert request.form["client_id"] == "us"
            self.tokens += 1
            return Answer(200, {"access_token": f"token-{self.tokens}", "expires_in": 3_600})
        assert request.path == "/v1/object/usage"
        if request.headers["authorization"].removeprefix("Bearer ") in self.spoiled:
            return Answer(401, {"success": False})
        if self.refuses:
            return Answer(200, {"Success": False, "Errors": [{"Message": self.refuses}]})
        self.usage.setdefault(request.headers["idempotency-key"], request.json)
        return Answer(200, {"Success": True, "Id": "1"})


def test_zuora_gets_records_with_a_token_that_is_renewed(exported: Exported) -> None:
    zuora = FakeZuora()
    exported.call("zuora", acme="A-1", beta="A-2")
    exported.use("acme", "calls", 3)
    with recording_server(zuora) as server:
        config = exported.config(
            kind="zuora",
            base_url=server.url,
            client_id="us",
            client_secret="0123456789abcdef",
            meters=[{"feature": "calls", "unit": "Calls", "subscription": "S-1"}],
        )
        exporter = exported.exporter(config)
        exported.now_ms += HOUR_MS
        run(exporter.run())
        zuora.spoiled.add("token-1")
        exported.use("beta", "calls", 4)
        exported.now_ms += HOUR_MS
        run(exporter.run())
        zuora.refuses = "The account number A-1 is invalid"
        exported.use("acme", "calls", 5)
        exported.now_ms += HOUR_MS
        run(exporter.run())
    bodies = list(zuora.usage.values())
    assert [(b["AccountNumber"], b["Quantity"], b["UOM"]) for b in bodies] == [
        ("A-1", 3, "Calls"),
        ("A-2", 4, "Calls"),
    ]
    assert bodies[0]["StartDateTime"] == "2025-12-01T00:00:00+00:00"
    assert bodies[0]["SubscriptionNumber"] == "S-1"
    assert zuora.tokens == 2
    (refused,) = exported.items(ItemState.REFUSED)
    assert "A-1 is invalid" in refused.error


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_are_whole_and_the_same_when_written_again(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    config = exported.config(kind="files", folder=str(folder), dimensions=["model"])
    exported.use("acme", "tokens", 3, model="large", region="eu")
    exported.use("acme", "tokens", 4, model="small")
    exported.use("acme", "tokens", 5, model="large", region="us")
    exporter = exported.exporter(config)
    exported.now_ms += HOUR_MS
    # Written, and then it dies: nothing of that is noted.
    with monkeypatch.context() as dying:
        dying.setattr("control_plane.exporters.exporting.note_outcomes", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(exporter.run())
    assert files(folder) == ["main-0000000001.csv"]
    before = (folder / "main-0000000001.csv").read_bytes()
    exported.use("beta", "calls", 1, exported.now_ms - HOUR_MS)
    run(exporter.run())
    assert (folder / "main-0000000001.csv").read_bytes() == before
    assert files(folder) == ["main-0000000001.csv", "main-0000000002.csv"]
    rows = list(csv.DictReader(before.decode().splitlines()))
    told = {(row["customer"], row["meter"], row["dimensions"], row["quantity"]) for row in rows}
    assert told == {
        ("acme", "tokens", "model=large", "8"),
        ("acme", "tokens", "model=small", "4"),
    }
    assert run(exporter.run()).sent == 0


def test_a_folder_that_cannot_be_written_is_tried_again(exported: Exported, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.write_text("in the way", encoding="utf-8")
    exported.use("acme", "calls", 3)
    exporter = exported.exporter(exported.config(kind="files", folder=str(folder)))
    exported.now_ms += HOUR_MS
    assert run(exporter.run()).failed == 1
    folder.unlink()
    exported.now_ms += HOUR_MS
    assert run(exporter.run()).sent == 1


def test_parquet_has_types(exported: Exported, tmp_path: Path) -> None:
    config = exported.config(kind="files", folder=str(tmp_path / "out"), format="parquet")
    exported.use("acme", "calls", 2**40)
    exporter = exported.exporter(config)
    exported.now_ms += HOUR_MS
    run(exporter.run())
    table = parquet.read_table(tmp_path / "out" / "main-0000000001.parquet")
    assert table.column("quantity").to_pylist() == [2**40]
    assert str(table.schema.field("window_start").type) == "timestamp[ms, tz=UTC]"
    assert table.column("customer").to_pylist() == ["acme"]


def test_zuora_imports_what_is_written_for_it(exported: Exported, tmp_path: Path) -> None:
    config = exported.config(
        kind="files",
        folder=str(tmp_path / "out"),
        format="zuora_csv",
        meters=[{"feature": "calls", "unit": "Calls"}],
        window="day",
    )
    exported.call("zuora", acme="A-1")
    exported.use("acme", "calls", 3)
    exporter = exported.exporter(config)
    exported.now_ms += 24 * HOUR_MS
    run(exporter.run())
    (row,) = csv.DictReader((tmp_path / "out" / "main-0000000001.csv").read_text().splitlines())
    assert (row["ACCOUNT_ID"], row["UOM"], row["QTY"]) == ("A-1", "Calls", "3")
    assert (row["STARTDATE"], row["ENDDATE"]) == ("12/01/2025", "12/01/2025")


def test_a_webhook_is_signed_and_keeps_its_id(exported: Exported) -> None:
    answers = [Answer(500), Answer(429, {}, {"retry-after": "1"}), Answer(204)]

    def answer(_request: Recorded) -> Answer:
        return answers.pop(0)

    exported.use("acme", "calls", 3)
    exported.use("beta", "calls", 1)
    with recording_server(answer) as server:
        config = exported.config(kind="webhook", url=f"{server.url}/hook", secret=SECRET)
        exporter = exported.exporter(config)
        for _ in range(3):
            exported.now_ms += HOUR_MS
            run(exporter.run())
    assert len({request.headers["webhook-id"] for request in server.requests}) == 1
    assert len({request.body for request in server.requests}) == 1
    for request in server.requests:
        # Signed for the time of each attempt; verified by the receiver's own library.
        signature = Webhook(SECRET).sign(
            request.headers["webhook-id"],
            _instant(int(request.headers["webhook-timestamp"])),
            request.body.decode(),
        )
        assert request.headers["webhook-signature"] == signature
    body = json.loads(server.requests[0].body)
    assert [(item["customer"], item["quantity"]) for item in body["items"]] == [
        ("acme", 3),
        ("beta", 1),
    ]
    assert exported.counts() == {"sent": 2}


def _instant(at_s: int) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def test_an_exporter_gives_up_after_so_many_attempts(exported: Exported) -> None:
    exported.use("acme", "calls", 3)
    with recording_server(lambda _: Answer(500)) as server:
        config = exported.config(kind="webhook", url=server.url, secret=SECRET, attempts_max=2)
        exporter = exported.exporter(config)
        for _ in range(4):
            exported.now_ms += HOUR_MS
            run(exporter.run())
    assert len(server.requests) == 2
    (item,) = exported.items(ItemState.REFUSED)
    assert item.error.startswith("gave up after 2 attempts: HTTP 500")


def test_a_rate_is_kept() -> None:
    now_s, waited = [0.0], []

    def wait(span_s: float) -> None:
        waited.append(span_s)
        now_s[0] += span_s

    pace = Pace(10, lambda: now_s[0], wait)
    for _ in range(5):
        pace.take()
    assert sum(waited) == pytest.approx(0.4)
    now_s[0] += 10
    pace.take()
    assert sum(waited) == pytest.approx(0.4)
