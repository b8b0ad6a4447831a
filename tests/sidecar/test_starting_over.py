"""The control plane was put back to an earlier state: what is held goes, usage stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.snapshots import Mode
from sidecar.snapshot_store import SnapshotStore
from sidecar.uplink.keeping import SnapshotKeeper
from tests.sidecar.gate_world import MOMENT, make_gate
from tests.sidecar.session_world import MONTH, Bench
from weighbridge.rules.decision import Reason
from weighbridge.v1 import sync_service_pb2 as pb
from weighbridge.v1 import types_pb2 as types_pb

CALLS = ("", "api.calls")


def snapshot(customer: str, version: int, **fields: object) -> pb.CustomerSnapshot:
    return pb.CustomerSnapshot(
        customer=customer,
        version=version,
        catalog="shop",
        status=types_pb.CUSTOMER_STATUS_ACTIVE,
        **fields,  # type: ignore[arg-type]
    )


def plans(version: int) -> pb.CatalogSnapshot:
    free = pb.PlanVersion(plan="free", version=version)
    return pb.CatalogSnapshot(catalog="shop", version=version, plans=[free])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Make a sidecar that has followed a control plane up to revision 9."""
    bench = Bench(tmp_path, make_gate())
    bench.welcome(incarnation="first")
    bench.receive(catalog=plans(5), revision=7)
    for message in (snapshot("acme", 8), snapshot("late", 9)):
        bench.receive(customer=message, revision=9, usage_revision=3)
    bench.receive(unknown=pb.CustomerUnknown(customer="nobody", version=9))
    bench.receive(initial_snapshot_complete=pb.InitialSnapshotComplete(revision=9))
    bench.sent()
    yield bench
    bench.close()


def test_the_hello_says_what_was_seen_and_by_whom(bench: Bench) -> None:
    hello = bench.session.hello("boot", "1", MOMENT.boot_ms).hello
    assert (hello.incarnation, hello.seen_revision, hello.seen_usage_revision) == ("first", 9, 3)


def test_older_versions_replace_newer_ones_and_what_does_not_come_is_gone(bench: Bench) -> None:
    told = []
    bench.session.on_start_over = lambda: told.append("started over")
    bench.welcome(incarnation="second", start_over=True)
    assert told
    # Answers go on from what was held.
    assert bench.gate.cache.is_complete
    assert bench.gate.cache.find("late") is not None
    hello = bench.session.hello("boot", "1", MOMENT.boot_ms).hello
    assert (hello.incarnation, hello.held_revision, hello.seen_revision) == ("second", 0, 0)
    assert not hello.catalogs

    bench.welcome(incarnation="second")
    # Not under the catalog of the other history.
    bench.receive(customer=snapshot("acme", 2), revision=2)
    (nack,) = bench.sent()
    assert nack.nack.detail == "catalog 'shop' is not held"
    bench.receive(catalog=plans(4), revision=2)
    bench.receive(customer=snapshot("acme", 2), revision=2)
    bench.receive(customer=snapshot("nobody", 1), revision=2)
    assert [sent.ack.version for sent in bench.sent()] == [4, 2, 1]
    bench.receive(initial_snapshot_complete=pb.InitialSnapshotComplete(revision=2))

    cache = bench.gate.cache
    assert (cache.held_version("acme"), cache.held_version("nobody")) == (2, 1)
    assert [catalog.version for catalog in cache.catalogs()] == [4]
    assert bench.gate.resolve("late", "", MOMENT) == Reason.CUSTOMER_UNKNOWN
    bench.receive(customer=snapshot("acme", 1), revision=2)
    assert cache.held_version("acme") == 2, "from here on only newer ones again"
    hello = bench.session.hello("boot", "1", MOMENT.boot_ms).hello
    assert (hello.held_revision, hello.seen_revision) == (2, 2)


def test_tombstones_and_catalogs_of_the_other_history_go_too(bench: Bench) -> None:
    bench.receive(revoked=pb.CustomerRevoked(customer="acme", version=10))
    bench.welcome(incarnation="second", start_over=True)
    other = pb.CatalogSnapshot(catalog="other", version=1)
    bench.receive(catalog=other)
    bench.receive(revoked=pb.CustomerRevoked(customer="late", version=3))
    bench.receive(initial_snapshot_complete=pb.InitialSnapshotComplete(revision=3))
    assert [catalog.id for catalog in bench.gate.cache.catalogs()] == ["other"]
    assert bench.gate.resolve("acme", "", MOMENT) == Reason.CUSTOMER_UNKNOWN
    assert bench.gate.resolve("late", "", MOMENT) == Reason.REVOKED


def test_on_demand_everything_held_is_asked_for_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, make_gate(Mode.ON_DEMAND))
    bench.receive(unknown=pb.CustomerUnknown(customer="nobody", version=9))
    bench.welcome(incarnation="second", start_over=True)
    hello = bench.session.hello("boot", "1", MOMENT.boot_ms).hello
    assert {(held.id, held.version) for held in hello.customers} == {("acme", 0), ("nobody", 0)}
    bench.receive(unknown=pb.CustomerUnknown(customer="acme", version=0))
    assert bench.gate.cache.is_absent("acme")
    bench.close()


def test_usage_is_kept_and_sent_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, make_gate())
    bench.welcome(incarnation="first")
    bench.consume(2)
    bench.consume(3)
    bench.sent()
    bench.receive(usage_ack=pb.UsageAck(mark=bench.mark(2), usage_revision=4))
    usage = bench.gate.book.find("acme", CALLS)
    assert usage is not None
    counter = usage._counters["calendar:month:UTC"]
    bench.welcome(settled=1, incarnation="second", start_over=True)
    (again,) = bench.sent()
    assert [record.number for record in again.usage.records] == [2]
    total = pb.WindowTotal(
        feature="api.calls", window=MONTH, window_start_unix_ms=counter.bounds.start_ms, total=2
    )
    bench.receive(catalog=plans(4))
    bench.receive(customer=snapshot("acme", 2, totals=[total], included=[bench.mark(1)]))
    # The rest still counts as own, and is counted once when it is settled again.
    assert counter.used == 5
    bench.receive(initial_snapshot_complete=pb.InitialSnapshotComplete(revision=2))
    bench.receive(usage_ack=pb.UsageAck(mark=bench.mark(2), usage_revision=2))
    total.total = 5
    later = pb.CustomerTotals(customer="acme", totals=[total], included=[bench.mark(2)])
    bench.receive(totals=later)
    assert (counter.used, bench.journal.unsettled_records) == (5, 0)
    bench.close()


async def test_the_disk_holds_one_history_at_a_time(bench: Bench) -> None:
    store = SnapshotStore(bench.directory, MOMENT.now_ms)
    keeper = SnapshotKeeper(store, bench.applier, bench.gate, bench.clock)
    await keeper.save()
    assert store.meta()["complete"] == "yes"
    bench.welcome(incarnation="second", start_over=True)
    bench.receive(catalog=plans(4), revision=2)
    await keeper.save()
    meta = store.meta()
    assert (meta["incarnation"], meta["seen_revision"], "complete" in meta) == (
        "second",
        "2",
        False,
    )
    assert [(row.kind, row.id, row.version) for row in store.load_all()] == [("catalog", "shop", 4)]

    bench.receive(customer=snapshot("acme", 2), revision=2)
    bench.receive(initial_snapshot_complete=pb.InitialSnapshotComplete(revision=2))
    await keeper.save()
    second = make_gate(Mode.ALL)
    again = SnapshotKeeper(
        store, type(bench.applier)(second, bench.applier._epochs), second, bench.clock
    )
    assert again.restore().failed == 0
    assert second.cache.is_complete
    keeper.close()
    again.close()
    store.close()


async def test_what_is_on_disk_without_its_history_is_taken_anew(
    bench: Bench, tmp_path: Path
) -> None:
    store = SnapshotStore(bench.directory, MOMENT.now_ms)
    store.save(list(bench.applier.unsaved.values()))
    second = Bench(tmp_path / "second", make_gate())
    keeper = SnapshotKeeper(store, second.applier, second.gate, second.clock)
    assert keeper.restore().items
    assert second.gate.cache.find("late") is not None, "it answers from what it has"
    assert not second.session.hello("boot", "1", MOMENT.boot_ms).hello.catalogs
    second.welcome(incarnation="first")
    second.receive(catalog=plans(5))
    await keeper.save()
    assert [row.kind for row in store.load_all()] == ["catalog"]
    keeper.close()
    store.close()
    second.close()
