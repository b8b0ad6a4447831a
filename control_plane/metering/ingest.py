"""Settles usage records, each exactly once, in a transaction that somebody else began."""

from __future__ import annotations

import json
from collections import Counter as Tallied
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sqlalchemy import Connection

from control_plane.crediting import UsageReference
from control_plane.leasing.accounts import EpochId, Gain
from control_plane.leasing.credits import CreditUse
from control_plane.leasing.settling import SettledUsage, post_usage
from control_plane.metering.charges import unadmitted_charge
from control_plane.metering.counters import Counter, CounterCache
from control_plane.metering.epochs import move_marks, open_marks
from control_plane.metering.keys import KeyUse, claim_keys
from control_plane.metering.records import (
    EpochKey,
    KeyScope,
    RecordMark,
    SetAside,
    SetAsideReason,
    UsageEntry,
    UsageKind,
    UsageRecord,
    entry_payload,
    problem_of,
    record_payload,
)
from control_plane.metering.spending import SpendMeter, Spends, Spent
from control_plane.metering.tally import Group, Tally
from control_plane.metering.totals import TotalKey, count_overdrawn
from control_plane.provisioning import create_unprovisioned, load_customers
from control_plane.storage.rows import insert_rows, rows_by_key
from control_plane.storage.tables import usage_event, usage_record, usage_set_aside

AHEAD_MS_MAX: Final = 24 * 3_600_000
"""How far ahead of this clock usage may lie; past that, a clock is wrong."""

_EVENT_COLUMNS: Final = [column.name for column in usage_event.columns if column.name != "id"]
_RECORD_COLUMNS: Final = [column.name for column in usage_record.columns]
_SET_ASIDE_COLUMNS: Final = [c.name for c in usage_set_aside.columns if c.name != "id"]
_KIND_TEXT: Final = {kind: kind.value for kind in UsageKind}


@dataclass(slots=True)
class Settlement:
    """What became of a sequence of records.

    `marks` are the marks of every epoch named, after it. A record above its mark was not looked at,
    for those between are missing. `reports` are for the sidecars that sent what was set aside.
    `draws_refused` were taken from leases that have not that much; their usage settled all the
    same. `gains` are the pools that have more to lease than before.
    """

    marks: dict[EpochKey, int]
    records: int = 0
    records_repeated: int = 0
    events: int = 0
    keys_repeated: int = 0
    set_aside: Tallied[SetAsideReason] = field(default_factory=Tallied)
    reports: list[SetAside] = field(default_factory=list)
    usage_revision: int | None = None
    draws_refused: int = 0
    gains: list[Gain] = field(default_factory=list)
    # Allocations of which more was released than acquired: those this transaction did that to, and
    # how many there are; None where it changed none of them.
    overdrawn: list[TotalKey] = field(default_factory=list)
    overdrawn_total: int | None = None
    # Those that came by the default plan.
    customers_created: list[str] = field(default_factory=list)


class _Placed(NamedTuple):
    """An entry that can be applied, and the windows it counts in: its customer's and above."""

    record: UsageRecord
    entry: UsageEntry
    group: Group
    above: tuple[Group, ...]
    spends: Spends | None = None


def settle_records(
    connection: Connection, records: Sequence[UsageRecord], cache: CounterCache, now_ms: int
) -> Settlement:
    """Settle the records that come next in their epochs, and move the marks over them.

    Per epoch only the next number is applied. A number at or below the mark was settled before: it
    is skipped, or set aside where its digest is another. A number above the next is left alone.

    Whoever rolls the transaction back clears the cache; here that is done where this raises.
    """
    try:
        return _Settling(connection, cache, now_ms).settle(records)
    except BaseException:
        cache.clear()
        raise


class _Settling:
    """One transaction's work."""

    def __init__(self, connection: Connection, cache: CounterCache, now_ms: int) -> None:
        self._connection = connection
        self._cache = cache
        self._now_ms = now_ms
        self._tally = Tally()
        self._credits: list[CreditUse] = []
        self._spending = SpendMeter(connection, self._tally, now_ms)
        self._settlement = Settlement({})
        self._set_aside_rows: list[tuple[str, str, int, str, bytes, int]] = []

    def settle(self, records: Sequence[UsageRecord]) -> Settlement:
        settlement = self._settlement
        epochs = {record.epoch_key for record in records}
        before = open_marks(self._connection, epochs, self._now_ms)
        settlement.marks = dict(before)
        fresh, known = _take_next(records, settlement.marks)
        self._compare(known, fresh)
        sound = self._sound(fresh)
        placed = self._place(sound)
        placed = self._without_repeats(placed)
        placed = self._with_spends(placed)
        self._tally.open(self._connection, self._now_ms)
        self._spending.open()
        self._store_events(placed)
        self._spending.write()
        settlement.usage_revision = self._tally.write(self._connection, self._now_ms)
        if self._tally.has_overdraft:
            settlement.overdrawn = self._tally.overdrawn()
            settlement.overdrawn_total = count_overdrawn(self._connection)
        self._store_records(fresh)
        insert_rows(self._connection, usage_set_aside, _SET_ASIDE_COLUMNS, self._set_aside_rows)
        moved = [
            RecordMark(*key, number)
            for key, number in settlement.marks.items()
            if number != before[key]
        ]
        move_marks(self._connection, moved, self._now_ms)
        self._post(sound, {(mark.sidecar_id, mark.epoch): mark.number for mark in moved})
        return settlement

    def _post(self, records: Sequence[UsageRecord], moved: dict[EpochId, int]) -> None:
        """Post what was settled to the leases it was drawn from, and to the pools it counts in."""
        draws = [(record.epoch_key, record.draws) for record in records if record.draws]
        holds = [hold for record in records for hold in record.holds]
        rolling = self._tally.rolling()
        usage = SettledUsage(draws, self._tally.totals(), moved, holds, self._credits, rolling)
        posted = post_usage(self._connection, usage, self._now_ms)
        self._settlement.draws_refused = posted.draws_refused
        self._settlement.gains = posted.gains

    def _compare(self, known: Sequence[UsageRecord], fresh: Sequence[UsageRecord]) -> None:
        """Set aside records whose number was settled with other content."""
        digests = {record.mark: record.digest for record in fresh}
        digests.update(_stored_digests(self._connection, known, digests))
        self._settlement.records_repeated += len(known)
        for record in known:
            # No digest is kept of a number settled long ago; the mark alone tells it is known.
            if digests.get(record.mark, record.digest) != record.digest:
                detail = "the number is settled with another digest; this record was not applied"
                self._report(record, SetAsideReason.DIGEST_CONFLICT, detail)

    def _sound(self, fresh: Sequence[UsageRecord]) -> list[UsageRecord]:
        sound = []
        for record in fresh:
            problem = problem_of(record)
            if problem is None:
                sound.append(record)
            else:
                self._report(record, SetAsideReason.INVALID_RECORD, problem)
        return sound

    def _place(self, records: Sequence[UsageRecord]) -> list[_Placed]:
        """Find the windows of each entry; set aside those that belong nowhere."""
        named = {entry.customer for record in records for entry in record.entries}
        self._cache.refresh(self._connection, named)
        missing = {name for name in named if self._cache.find(name) is None}
        if missing:
            self._create(missing, records)
        latest_ms = self._now_ms + AHEAD_MS_MAX
        placed = []
        for record in records:
            for entry in record.entries:
                if entry.occurred_at_ms > latest_ms:
                    self._put_aside(record, entry, SetAsideReason.IN_THE_FUTURE)
                    continue
                found = self._placed(record, entry)
                if isinstance(found, _Placed):
                    placed.append(found)
                else:
                    self._put_aside(record, entry, found)
        return placed

    def _create(self, missing: set[str], records: Sequence[UsageRecord]) -> None:
        """Make those customers that the default plan has, and of whom usage can be applied."""
        default = self._cache.default()
        if default is None:
            return
        latest_ms = self._now_ms + AHEAD_MS_MAX
        coming = {
            entry.customer: None
            for record in records
            for entry in record.entries
            if entry.customer in missing
            and entry.occurred_at_ms <= latest_ms
            and default.refusal(entry.resource, entry.feature, entry.amount) is None
        }
        if coming:
            ids = self._settlement.customers_created = [*coming]
            create_unprovisioned(self._connection, default.catalog.catalog, ids, self._now_ms)
            self._cache.put(self._connection, load_customers(self._connection, ids))

    def _placed(self, record: UsageRecord, entry: UsageEntry) -> _Placed | SetAsideReason:
        name, resource, feature, amount, at_ms, *_ = entry
        customer = self._cache.find(name)
        if customer is None:
            return SetAsideReason.CUSTOMER_UNKNOWN
        refusal = customer.refusal(resource, feature, amount)
        if refusal is not None and not self._was_metered(customer.customer.catalog, entry, refusal):
            return refusal
        counter = Counter(name, resource, feature)
        group = self._tally.group(counter, customer.span(counter, at_ms, self._now_ms))
        if customer.above is None:
            return _Placed(record, entry, group, ())
        above = []
        for ancestor in customer.lineage():
            counter = Counter(ancestor.customer.id, "", feature)
            span = ancestor.span(counter, at_ms, self._now_ms)
            above.append(self._tally.group(counter, span))
        return _Placed(record, entry, group, tuple(above))

    def _was_metered(self, catalog: str, entry: UsageEntry, refusal: SetAsideReason) -> bool:
        if refusal in (SetAsideReason.RESOURCE_UNKNOWN, SetAsideReason.NOT_RELEASABLE):
            return False
        return self._cache.was_metered(
            self._connection, catalog, entry.catalog_version, entry.feature
        )

    def _without_repeats(self, placed: list[_Placed]) -> list[_Placed]:
        """Leave out usage whose fleet-wide key was settled before, by this sidecar or another."""
        keyed = [
            index
            for index, item in enumerate(placed)
            if item.entry.key and item.entry.key_scope is KeyScope.FLEET
        ]
        if not keyed:
            return placed
        uses = [_key_use(placed[index].entry) for index in keyed]
        verdicts = claim_keys(self._connection, uses, self._now_ms)
        for position in sorted(verdicts.conflicting):
            record, entry, *_ = placed[keyed[position]]
            self._put_aside(record, entry, SetAsideReason.KEY_CONFLICT)
            detail = (
                f"customer {entry.customer}: idempotency key {entry.key!r} was settled with "
                "another payload; this use of it was not applied"
            )
            self._settlement.reports.append(
                SetAside(record.mark, SetAsideReason.KEY_CONFLICT, detail)
            )
        self._settlement.keys_repeated += len(verdicts.repeated)
        left_out = {keyed[position] for position in verdicts.repeated | verdicts.conflicting}
        return [item for index, item in enumerate(placed) if index not in left_out]

    def _with_spends(self, placed: list[_Placed]) -> list[_Placed]:
        """Find the spend limits that usage counts in."""
        found = []
        for item in placed:
            customer = self._cache.find(item.entry.customer)
            has_spends = customer is not None and customer.catalog.compiler.spending
            spends = self._spending.place(item.entry, customer) if customer and has_spends else None
            found.append(item if spends is None else item._replace(spends=spends))
        return found

    def _store_events(self, placed: Sequence[_Placed]) -> None:
        rows = []
        money = []
        if self._tally.needs_order:
            placed = sorted(placed, key=lambda item: item.entry.occurred_at_ms)
        for record, entry, group, above, spends in placed:
            # A hold may have grown until it was settled: what came last leaves last.
            spent_ms = self._now_ms if entry.kind is UsageKind.SETTLE else None
            if not group.add(entry.occurred_at_ms, entry.amount, above, spent_ms):
                self._put_aside(record, entry, SetAsideReason.OVERFLOW)
                continue
            rows.append(_event_row(record, entry))
            self._note_credit(record, entry)
            if spends is not None:
                money += [
                    _event_row(record, _money_entry(entry, spent))
                    for spent in self._spending.charge(entry, spends)
                ]
        insert_rows(self._connection, usage_event, _EVENT_COLUMNS, [*rows, *money])
        self._settlement.events += len(rows)

    def _note_credit(self, record: UsageRecord, entry: UsageEntry) -> None:
        """Have usage charged that costs credits: by who admitted it, else by what there is now."""
        customer = self._cache.find(entry.customer)
        if customer is None or entry.amount <= 0:
            return
        credit = entry.credit
        if credit is None and not entry.catalog_version:
            credit = unadmitted_charge(customer, entry)
        if credit is None or not credit.micro:
            return
        ledger = credit.ledger
        payers = {entry.customer, *(each.customer.id for each in customer.lineage())}
        if ledger.customer not in payers:
            ledger = ledger._replace(customer=entry.customer)
        usage = UsageReference(entry.key, *record.mark)
        place = len(self._credits)
        self._credits.append(CreditUse(ledger, credit.micro, entry.occurred_at_ms, usage, place))

    def _store_records(self, fresh: Sequence[UsageRecord]) -> None:
        self._settlement.records += len(fresh)
        insert_rows(
            self._connection,
            usage_record,
            _RECORD_COLUMNS,
            [(*record.mark, record.digest, self._now_ms) for record in fresh],
        )

    def _report(self, record: UsageRecord, reason: SetAsideReason, detail: str) -> None:
        self._keep(record, reason, record_payload(record))
        self._settlement.reports.append(SetAside(record.mark, reason, detail))

    def _put_aside(self, record: UsageRecord, entry: UsageEntry, reason: SetAsideReason) -> None:
        self._keep(record, reason, entry_payload(entry))

    def _keep(self, record: UsageRecord, reason: SetAsideReason, payload: bytes) -> None:
        self._settlement.set_aside[reason] += 1
        self._set_aside_rows.append((*record.mark, reason.value, payload, self._now_ms))


def _take_next(
    records: Iterable[UsageRecord], marks: dict[EpochKey, int]
) -> tuple[list[UsageRecord], list[UsageRecord]]:
    """Split off the records that come next, moving the marks, and those known already."""
    fresh: list[UsageRecord] = []
    known: list[UsageRecord] = []
    for record in records:
        key = record.epoch_key
        if record.number == marks[key] + 1:
            marks[key] = record.number
            fresh.append(record)
        elif record.number <= marks[key]:
            known.append(record)
    return fresh, known


def _stored_digests(
    connection: Connection, known: Iterable[UsageRecord], besides: Iterable[RecordMark]
) -> dict[RecordMark, bytes]:
    wanted = {record.mark for record in known}.difference(besides)
    place = ("sidecar_id", "epoch", "number")
    return {
        RecordMark(*mark): digest
        for *mark, digest, _ in rows_by_key(connection, usage_record, place, wanted)
    }


def _key_use(entry: UsageEntry) -> KeyUse:
    return KeyUse((entry.customer, entry.key), entry.payload_digest)


def _money_entry(entry: UsageEntry, spent: Spent) -> UsageEntry:
    kind = UsageKind.SPEND
    money = entry._replace(feature=spent.feature, amount=spent.micros, kind=kind)
    return money._replace(key="", dimensions=())


def _event_row(record: UsageRecord, entry: UsageEntry) -> tuple[object, ...]:
    assert entry.kind is not None, "problem_of lets no entry without a kind pass"
    dimensions = json.dumps(dict(entry.dimensions)) if entry.dimensions else None
    return (
        record.sidecar_id,
        record.epoch,
        record.number,
        entry.customer,
        entry.resource,
        entry.feature,
        entry.amount,
        entry.calls,
        entry.occurred_at_ms,
        _KIND_TEXT[entry.kind],
        dimensions,
        entry.key or None,
        entry.catalog_version,
        entry.snapshot_version,
    )
