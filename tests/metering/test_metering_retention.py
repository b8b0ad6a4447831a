"""What is kept for a time only."""

from __future__ import annotations

import pytest
from metered import Metered, entry, record

from control_plane.metering import retention
from control_plane.metering.records import KeyScope
from control_plane.storage.tables import usage_key, usage_record

DAY_MS = 86_400_000


def prune(metered: Metered) -> int:
    with metered.database.writing() as connection:
        return retention.prune(connection, metered.now_ms)


def test_keys_go_after_a_day(metered: Metered) -> None:
    keyed = entry(key="k-1", key_scope=KeyScope.FLEET, payload_digest=b"d")
    metered.settle(record(1, keyed))
    metered.now_ms += DAY_MS - 1
    assert prune(metered) == 0
    metered.now_ms += 1

    assert prune(metered) == 1
    assert metered.rows(usage_key) == []


def test_digests_of_an_epoch_long_over_go_and_its_mark_stays(metered: Metered) -> None:
    metered.settle(record(1, entry()), record(2, entry()))
    assert prune(metered) == 0
    metered.now_ms += 7 * DAY_MS

    assert prune(metered) == 2
    again = metered.settle(record(1, entry(amount=9)))
    assert (again.records, again.records_repeated, metered.set_aside()) == (0, 1, [])


def test_only_the_last_digests_of_a_long_epoch_are_kept(
    metered: Metered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "DIGESTS_PER_EPOCH", 2)
    metered.settle(*(record(number, entry()) for number in range(1, 6)))

    assert prune(metered) == 3
    assert [row.number for row in metered.rows(usage_record)] == [4, 5]
    assert prune(metered) == 0
