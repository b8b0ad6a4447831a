"""A sidecar that reads slowly costs what it may hold, not what happens meanwhile."""

from __future__ import annotations

import pytest
from sync_world import SyncWorld

from control_plane.leasing.holding import HolderClaim
from control_plane.metering.records import EpochKey, RecordMark, SetAside, SetAsideReason
from control_plane.metering.totals import WindowTotal
from control_plane.publishing import outbox as outboxes
from control_plane.publishing.delivery import Deliverer, Delivery, WholeCustomer
from control_plane.publishing.incarnations import Seen
from control_plane.publishing.loading import FeatureTotals, SnapshotLoader, SnapshotReader
from control_plane.publishing.outbox import Outbox, Revoked, UsageSetAside, UsageSettled
from control_plane.publishing.sessions import Greeting, Interest, SidecarSession
from weighbridge.rules.catalog import Catalog, CustomerStatus
from weighbridge.rules.errors import ResourceExhaustedError
from weighbridge.rules.window import Window, WindowKind

WINDOW = Window(WindowKind.LIFETIME)
KEY = ("", "api.calls")


def total(units: int, revision: int) -> FeatureTotals:
    return FeatureTotals(revision, (WindowTotal("", "api.calls", WINDOW, 0, units),))


def mark(number: int) -> RecordMark:
    return RecordMark("sc-1", "e1", number)


def greeting(interest: Interest = Interest.ALL) -> Greeting:
    epochs = (EpochKey("sc-1", "e1"),)
    claim = HolderClaim(("sc-1", "e1"), (), {}, may_have_lost=False)
    return Greeting("sc-1", "e1", "", "", "", interest, {}, {}, 0, 0, epochs, Seen(), claim)


def test_of_what_waits_only_the_newest_is_kept() -> None:
    outbox = Outbox()
    for number in range(1, 1_000):
        outbox.put_customers(["acme", "beta"])
        outbox.put_totals({"acme": {KEY: total(number, number)}}, (mark(number),))
        outbox.put_urgent(UsageSettled(mark(number), number))
        outbox.put_urgent(Revoked("gone", number))
        outbox.put_catalogs(["api"])

    assert len(outbox) == 6
    assert outbox.take_urgent() == UsageSettled(mark(999), 999)
    assert outbox.take_urgent() == Revoked("gone", 999)
    assert outbox.take_urgent() is None
    taken = outbox.take_totals()
    assert taken is not None
    assert (taken.totals[0].total, taken.included) == (999, (mark(999),))
    assert outbox.take_catalogs() == ["api"]
    assert outbox.take_customers(1) == ["acme"]
    assert outbox.take_customers(9) == ["beta"]
    assert len(outbox) == 0


def test_totals_of_other_features_wait_beside_newer_ones() -> None:
    outbox = Outbox()
    jobs = FeatureTotals(1, (WindowTotal("", "jobs", WINDOW, 0, 5),))
    outbox.put_totals({"acme": {KEY: total(1, 1), ("", "jobs"): jobs}}, (mark(1),))
    outbox.put_totals({"acme": {KEY: total(2, 2)}}, (mark(2),))

    taken = outbox.take_totals()

    assert taken is not None
    assert {t.feature: t.total for t in taken.totals} == {"api.calls": 2, "jobs": 5}
    assert taken.included == (mark(2),)


def test_a_whole_snapshot_makes_older_totals_needless() -> None:
    outbox = Outbox()
    outbox.put_totals({"acme": {KEY: total(1, 4)}}, (mark(1),))
    outbox.drop_older_totals("acme", 3)
    assert len(outbox) == 1
    outbox.drop_older_totals("acme", 4)
    assert len(outbox) == 0


def test_reports_that_nobody_reads_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "REPORTS_WAITING_MAX", 2)
    outbox = Outbox()
    report = UsageSetAside(SetAside(mark(1), SetAsideReason.INVALID_RECORD, "why"))
    outbox.put_urgent(report)
    outbox.put_urgent(report)

    with pytest.raises(ResourceExhaustedError):
        outbox.put_urgent(report)


async def test_who_did_not_read_is_sent_each_customer_once_as_it_is_now(world: SyncWorld) -> None:
    world.create("acme", "beta")
    session = SidecarSession(greeting(), world.now_ms)
    world.publisher.connect(session)
    for plan in ("free", "pro") * 10:
        world.subscribe("acme", plan)
    world.create("gone")
    world.set_status("gone", CustomerStatus.REVOKED)

    sent = await _deliver_all(world, session)

    assert isinstance(sent[0], Catalog)
    wholes = {d.customer.id: d for d in sent if isinstance(d, WholeCustomer)}
    assert wholes.keys() == {"acme", "beta"}
    assert wholes["acme"].customer.version == world.version("acme")
    assert len([d for d in sent if isinstance(d, WholeCustomer)]) <= 4
    assert any(isinstance(d, Revoked) and d.customer == "gone" for d in sent)
    assert len(session.outbox) == 0


async def test_subscriptions_have_a_bound(
    world: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.publishing.sessions.CUSTOMERS_MAX", 3)
    session = SidecarSession(greeting(Interest.ON_DEMAND), world.now_ms)
    session.subscribe(["a", "b", "c"])

    with pytest.raises(ResourceExhaustedError, match="unsubscribe"):
        session.subscribe(["d"])


async def _deliver_all(world: SyncWorld, session: SidecarSession) -> list[Delivery]:
    """Deliver until the publisher has nothing more for the session."""
    loader = SnapshotLoader(world.database, SnapshotReader(world.library, lambda: world.now_ms))
    deliverer = Deliverer(session, world.database, world.library, loader, lambda: world.now_ms)
    sent: list[Delivery] = []
    while not (session.revision == world.revision() and deliverer.beat().revision):
        found = await deliverer.next()
        sent += found
        if not found:
            await session.wait(0.05)
    return sent
