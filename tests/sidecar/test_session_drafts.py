"""Drafts on the stream and on disk: held apart from what decides, whatever their versions say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.decided import Decided
from sidecar.core.request import Kind, Request
from sidecar.snapshot_store import SnapshotStore
from sidecar.uplink.keeping import SnapshotKeeper
from tests.sidecar.gate_world import MOMENT, make_gate
from tests.sidecar.test_session import Bench
from weighbridge.v1 import sync_service_pb2 as pb
from weighbridge.v1 import types_pb2 as types_pb


def draft(number: int, limit: int = 0, version: int = 99, kind: int = 1) -> pb.DraftCatalog:
    window = types_pb.Window(
        kind=kind,  # type: ignore[arg-type]
        period=types_pb.WINDOW_PERIOD_MONTH,
        time_zone="UTC",
    )
    hard = types_pb.Limit(id="month", kind=types_pb.LIMIT_KIND_HARD, limit=limit, window=window)
    granted = types_pb.Entitlement(feature="api.calls", enabled=True, limits=[hard])
    feature = pb.Feature(
        id="api.calls",
        type=types_pb.FEATURE_TYPE_METERED,
        outage_policy=types_pb.OUTAGE_POLICY_KIND_LAST_KNOWN,
        enforcement=types_pb.ENFORCEMENT_ENFORCE,
    )
    plan = pb.PlanVersion(plan="free", version=2, name="Free", entitlements=[granted])
    snapshot = pb.CatalogSnapshot(catalog="shop", version=version, features=[feature], plans=[plan])
    return pb.DraftCatalog(snapshot=snapshot, number=number)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, make_gate())
    bench.welcome()
    yield bench
    bench.close()


def held(bench: Bench) -> dict[str, int]:
    return {
        item.id: item.version
        for item in bench.session.hello("boot", "1", MOMENT.boot_ms).hello.drafts
    }


def restarted(bench: Bench) -> Bench:
    """Return a bench with what the other kept on disk, and nothing else."""
    store = SnapshotStore(bench.directory, MOMENT.now_ms)
    store.save([tuple(item) for item in bench.applier.unsaved.values()])
    fresh = Bench.__new__(Bench)
    fresh.__dict__.update(bench.__dict__)
    fresh.gate = make_gate()
    fresh.applier = type(bench.applier)(fresh.gate, bench.applier._epochs)
    fresh.session = type(bench.session)(
        fresh.gate,
        bench.journal,
        fresh.applier,
        bench.session._sending,
        bench.session._lease_talk,
        bench.clock,
    )
    SnapshotKeeper(store, fresh.applier, fresh.gate, bench.clock).restore()
    store.close()
    return fresh


def ask(bench: Bench) -> Decided:
    decided = bench.gate.decide(Request(Kind.CHECK, "acme", "", "api.calls"), MOMENT)
    assert isinstance(decided, Decided)
    return decided


def test_a_draft_is_held_beside_the_catalog_and_named_in_the_hello(bench: Bench) -> None:
    assert bench.gate.shadow is None
    bench.receive(draft=draft(7))
    assert bench.sent() == []
    assert held(bench) == {"shop": 7}
    assert (ask(bench).verdict.allowed, ask(bench).catalog_version) == (True, 1)
    bench.receive(draft=draft(6))
    assert held(bench) == {"shop": 6}, "the control plane says what the draft is"
    bench.receive(draft_removed=pb.DraftRemoved(catalog="shop"))
    assert bench.gate.shadow is None
    bench.receive(draft_removed=pb.DraftRemoved(catalog="shop"))


def test_a_draft_survives_a_restart_as_a_draft(bench: Bench) -> None:
    bench.receive(draft=draft(7))
    fresh = restarted(bench)
    assert held(fresh) == {"shop": 7}
    assert (ask(fresh).verdict.allowed, ask(fresh).catalog_version) == (True, 1)
    compiler = fresh.gate.cache.compiler("shop")
    assert compiler is not None
    assert compiler.catalog.version == 1


def test_a_removed_draft_does_not_come_back(bench: Bench) -> None:
    bench.receive(draft=draft(7))
    bench.receive(draft_removed=pb.DraftRemoved(catalog="shop"))
    assert restarted(bench).gate.shadow is None


def test_a_draft_that_cannot_be_understood_is_nacked_and_the_last_stays(bench: Bench) -> None:
    bench.receive(draft=draft(7))
    bench.receive(draft=draft(8, kind=99))
    (nack,) = [message.nack for message in bench.sent()]
    assert (nack.catalog, nack.version) == ("shop", 8)
    assert nack.detail.startswith("draft: window.kind: 99")
    assert held(bench) == {"shop": 7}
