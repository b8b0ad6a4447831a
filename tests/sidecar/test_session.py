"""The stream's conversation, sans-I/O: hello, snapshots, acks, usage, marks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.clock import ControlPlaneClock
from sidecar.core.decided import Decided
from sidecar.core.leases import Lack, Pool
from sidecar.core.moment import Moment
from sidecar.core.request import Kind, Request
from sidecar.core.snapshots import Mode
from sidecar.transport.seam import Call, Method
from sidecar.uplink.session import IdentityRefusedError
from tests.sidecar.gate_world import MOMENT, make_gate
from tests.sidecar.session_world import MONTH, Bench
from weighbridge.rules.decision import Reason
from weighbridge.rules.lease import PoolKey
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import sync_service_pb2 as pb
from weighbridge.v1 import types_pb2 as types_pb


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, make_gate())
    yield bench
    bench.close()


def test_nothing_is_sent_before_the_welcome(bench: Bench) -> None:
    bench.consume()
    bench.session.hello("boot", "1", MOMENT.boot_ms)
    assert bench.sent() == []


def test_the_hello_says_who_this_is_and_what_it_holds(bench: Bench) -> None:
    hello = bench.session.hello("boot", "1", MOMENT.boot_ms).hello
    assert hello.mode == pb.SUBSCRIPTION_MODE_ALL
    assert [(held.id, held.version) for held in hello.catalogs] == [("shop", 1)]
    assert not hello.customers, "mode ALL resumes from a revision"
    assert [mark.epoch for mark in hello.acknowledged] == [bench.journal.epoch]


def test_a_sidecar_on_demand_names_the_customers_it_holds(tmp_path: Path) -> None:
    bench = Bench(tmp_path, make_gate(Mode.ON_DEMAND))
    hello = bench.session.hello("boot", "1", MOMENT.boot_ms).hello
    assert [(held.id, held.version) for held in hello.customers] == [("acme", 1)]
    bench.close()


def test_what_a_release_gives_back_is_said_before_anything_is_asked_for(bench: Bench) -> None:
    bench.welcome()
    bench.consume(1)
    bench.sent()
    bench.consume(2)
    assert bench.sent() == [], "the next batch is not due"
    bench.session._lease_talk._asking.want([Lack(pool_of(bench), 1, 10, 0)])
    bench.gate.leases.has_released = True

    usage, asked = bench.sent()

    assert [record.number for record in usage.usage.records] == [2]
    assert [want.units_min for want in asked.lease_request.wants] == [1]


def pool_of(bench: Bench) -> Pool:
    return bench.gate.leases.open(PoolKey("acme", "", "api.calls", "month", 0), None, 0)


def test_usage_is_sent_in_order_and_again_where_it_was_not_settled(bench: Bench) -> None:
    bench.consume(1)
    bench.consume(2)
    bench.welcome()
    (batch,) = bench.sent()
    assert [record.number for record in batch.usage.records] == [1, 2]
    assert [record.entries[0].amount for record in batch.usage.records] == [1, 2]
    bench.receive(usage_ack=pb.UsageAck(mark=bench.mark(1)))
    assert bench.journal.unsettled_records == 1
    # The stream breaks: what was not settled is sent again, under its old number and digest.
    bench.welcome(settled=1)
    (again,) = bench.sent()
    assert again.usage.records[0] == batch.usage.records[1]


def test_a_restored_database_gets_settled_records_again(bench: Bench) -> None:
    bench.consume()
    bench.welcome()
    bench.sent()
    bench.receive(usage_ack=pb.UsageAck(mark=bench.mark(1)))
    bench.welcome(settled=0)
    (again,) = bench.sent()
    assert [record.number for record in again.usage.records] == [1]


def test_a_snapshot_is_acked_and_a_late_one_changes_nothing(bench: Bench) -> None:
    bench.welcome()
    newer = pb.CustomerSnapshot(
        customer="acme", version=5, catalog="shop", status=types_pb.CUSTOMER_STATUS_ARCHIVED
    )
    older = pb.CustomerSnapshot(
        customer="acme", version=4, catalog="shop", status=types_pb.CUSTOMER_STATUS_ACTIVE
    )
    for message in (newer, older):
        bench.receive(customer=message)
    assert [sent.ack.version for sent in bench.sent()] == [5, 4]
    state = bench.gate.cache.find("acme")
    assert state is not None
    assert state.customer.version == 5


def test_a_bad_snapshot_is_nacked_and_the_last_good_one_stays(bench: Bench) -> None:
    bench.welcome()
    bench.receive(
        catalog=pb.CatalogSnapshot(
            catalog="shop", version=2, features=[pb.Feature(id="x", type=99)]
        )  # type: ignore[arg-type]
    )
    bench.receive(
        customer=pb.CustomerSnapshot(
            customer="acme", version=9, catalog="gone", status=types_pb.CUSTOMER_STATUS_ACTIVE
        )
    )
    catalog, customer = bench.sent()
    assert catalog.nack.catalog == "shop"
    assert "features.type: 99" in catalog.nack.detail
    assert customer.nack.detail == "catalog 'gone' is not held"
    compiler = bench.gate.cache.compiler("shop")
    assert compiler is not None
    assert compiler.catalog.version == 1
    assert bench.gate.cache.held_version("acme") == 1


def test_a_revoked_customer_is_a_tombstone(bench: Bench) -> None:
    bench.welcome()
    bench.receive(revoked=pb.CustomerRevoked(customer="acme", version=7))
    late = pb.CustomerSnapshot(
        customer="acme", version=6, catalog="shop", status=types_pb.CUSTOMER_STATUS_ACTIVE
    )
    bench.receive(customer=late)
    assert bench.gate.resolve("acme", "", MOMENT) == Reason.REVOKED


def test_totals_name_the_records_they_include(bench: Bench) -> None:
    bench.welcome()
    bench.consume(1)
    bench.consume(1)
    view = bench.gate.book.find("acme", ("", "api.calls"))
    assert view is not None
    total = pb.WindowTotal(feature="api.calls", window=MONTH, total=4)
    counter = view._counters["calendar:month:UTC"]
    total.window_start_unix_ms = counter.bounds.start_ms
    bench.receive(
        totals=pb.CustomerTotals(customer="acme", totals=[total], included=[bench.mark(1)])
    )
    assert counter.used == 5


def test_a_heartbeat_moves_what_the_next_hello_says_is_held(bench: Bench) -> None:
    bench.welcome()
    bench.receive(
        heartbeat=pb.Heartbeat(
            control_plane_now_unix_ms=MOMENT.now_ms, revision=12, usage_revision=34
        )
    )
    hello = bench.session.hello("boot", "1", MOMENT.boot_ms).hello
    assert (hello.held_revision, hello.held_usage_revision) == (12, 34)


def test_a_copied_directory_is_told_so(bench: Bench) -> None:
    bench.session.hello("boot", "1", MOMENT.boot_ms)
    with pytest.raises(IdentityRefusedError, match="copied"):
        bench.receive(identity_refused=pb.IdentityRefused(detail="copied"))
    before = bench.journal.sidecar_id
    bench.consume()
    bench.journal.renew_identity(MOMENT.now_ms)
    bench.consume()
    assert bench.journal.sidecar_id != before
    bench.welcome()
    records = [record for sent in bench.sent() for record in sent.usage.records]
    # Records written before keep their old id, and go up first.
    assert [(r.sidecar_id == before, r.number) for r in records] == [(True, 1), (False, 1)]


def test_the_control_planes_clock_rules_and_does_not_go_back_within_a_stream() -> None:
    clock = ControlPlaneClock(boot_ms=1_000, wall_ms=0)
    clock.begin_stream()
    clock.heard(5_000, boot_ms=1_000)
    assert clock.now_ms(1_500) == 5_500
    # A slow message makes the control plane look earlier than it is.
    clock.heard(5_600, boot_ms=2_000)
    assert clock.now_ms(2_000) == 6_000
    clock.begin_stream()
    clock.heard(3_000, boot_ms=3_000)
    assert clock.now_ms(3_000) == 3_000
    assert clock.skew_ms(3_000, 2_900) == 100
    assert Moment(1, 2).now_ms == 1


def test_what_was_applied_is_restored_from_disk(bench: Bench, tmp_path: Path) -> None:
    bench.welcome()
    bench.receive(revoked=pb.CustomerRevoked(customer="gone", version=7))
    bench.receive(unknown=pb.CustomerUnknown(customer="nobody", version=8))
    total = pb.WindowTotal(feature="api.calls", window=MONTH, total=3)
    bench.receive(
        customer=pb.CustomerSnapshot(
            customer="acme",
            version=9,
            catalog="shop",
            status=types_pb.CUSTOMER_STATUS_ARCHIVED,
            totals=[total],
        )
    )
    saved = list(bench.applier.unsaved.values())
    second = Bench(tmp_path / "second", make_gate())
    assert second.applier.restore(saved) == []
    assert second.gate.cache.held_version("acme") == 9
    assert second.gate.cache.is_absent("nobody")
    assert second.gate.resolve("gone", "", MOMENT) == Reason.REVOKED
    broken = [item._replace(payload=b"\xff\xff") for item in saved]
    failed = second.applier.restore(broken)
    assert len(failed) == len(saved)
    second.close()


def test_a_customer_of_another_mode_is_not_restored_to_a_list(bench: Bench, tmp_path: Path) -> None:
    bench.welcome()
    bench.receive(
        customer=pb.CustomerSnapshot(
            customer="other",
            version=9,
            catalog="shop",
            status=types_pb.CUSTOMER_STATUS_ACTIVE,
        )
    )
    listed = Bench(tmp_path / "listed", make_gate(Mode.LISTED))
    assert listed.applier.restore(list(bench.applier.unsaved.values())) == []
    assert listed.gate.cache.find("other") is None
    listed.close()


def test_what_began_before_a_message_was_sent_is_in_force_when_it_arrives(bench: Bench) -> None:
    bench.welcome()
    # This sidecar's idea of now lies behind: messages took a while to come.
    sent_at_ms = MOMENT.now_ms + 40
    bench.receive(
        customer=pb.CustomerSnapshot(
            customer="new",
            version=9,
            catalog="shop",
            status=types_pb.CUSTOMER_STATUS_ACTIVE,
            subscriptions=[
                pb.Subscription(
                    id="s",
                    plan="free",
                    status=types_pb.SUBSCRIPTION_STATUS_ACTIVE,
                    starts_at_unix_ms=sent_at_ms - 1,
                )
            ],
        ),
        control_plane_now_unix_ms=sent_at_ms,
    )
    now = Moment(bench.clock.now_ms(MOMENT.boot_ms), MOMENT.boot_ms)
    assert now.now_ms == sent_at_ms
    decided = bench.gate.decide(Request(Kind.CHECK, "new", "", "api.calls"), now)
    assert isinstance(decided, Decided)
    assert decided.verdict.allowed


def test_what_calls_wait_for_is_asked_for_on_every_stream(bench: Bench) -> None:
    bench.session.want("early")
    bench.session.waited_for = lambda: ("waiting",)
    bench.welcome()
    (asked,) = bench.sent()
    assert {held.id for held in asked.subscribe.customers} == {"early", "waiting"}


def test_a_customer_let_go_and_wanted_again_is_followed(bench: Bench) -> None:
    bench.welcome()
    bench.session.release(["a", "b"])
    bench.session.want("a")
    assert [sent.WhichOneof("message") for sent in bench.sent()] == ["unsubscribe", "subscribe"]


def test_a_customer_that_did_not_exist_is_asked_about_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, make_gate(Mode.ON_DEMAND))
    bench.welcome()
    bench.receive(unknown=pb.CustomerUnknown(customer="nobody", version=8))
    hello = bench.session.hello("boot", "1", MOMENT.boot_ms).hello
    assert {(held.id, held.version) for held in hello.customers} == {("acme", 1), ("nobody", 0)}
    bench.close()


def test_settled_usage_counts_as_own_until_totals_that_include_it_are_here(bench: Bench) -> None:
    bench.welcome()
    request = sidecar_pb.ReportRequest(customer="later", feature="api.calls", amount=4)
    bench.seam.answer([Call(Method.REPORT, request.SerializeToString())])
    bench.sent()
    bench.receive(usage_ack=pb.UsageAck(mark=bench.mark(1), usage_revision=7))
    bench.receive(heartbeat=pb.Heartbeat(usage_revision=6))
    assert bench.gate.book.has_own("later")
    bench.receive(heartbeat=pb.Heartbeat(usage_revision=7))
    assert not bench.gate.book.has_own("later")


def test_what_was_settled_before_the_stream_waits_for_the_totals_missed(bench: Bench) -> None:
    request = sidecar_pb.ReportRequest(customer="later", feature="api.calls", amount=4)
    bench.seam.answer([Call(Method.REPORT, request.SerializeToString())])
    bench.welcome(settled=1)
    assert bench.gate.book.has_own("later")
    bench.receive(initial_snapshot_complete=pb.InitialSnapshotComplete(revision=1))
    assert not bench.gate.book.has_own("later")
