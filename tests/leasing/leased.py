"""An environment for tests of leases: a catalog with hard limits, and sidecars that hold some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any

from sqlalchemy import select

from control_plane import provisioning
from control_plane.granting.granter import Granter
from control_plane.granting.work import (
    Asking,
    Granted,
    LeaseNow,
    LeasesPosted,
    LeaseWork,
    Short,
    Want,
)
from control_plane.leasing.conservation import PoolSums, check_all
from control_plane.leasing.holding import HolderClaim, LeaseTerms, Returned
from control_plane.leasing.settling import Draw
from control_plane.metering.counters import CounterCache
from control_plane.metering.ingest import Settlement, settle_records
from control_plane.metering.records import UsageEntry, UsageKind, UsageRecord
from control_plane.provisioning import (
    CatalogLibrary,
    CatalogSource,
    NewCustomer,
    WantedEntitlement,
    WantedLimit,
    WantedOverride,
)
from control_plane.storage.database import Database
from control_plane.storage.lease_tables import lease, lease_holder, lease_pool
from weighbridge.rules.catalog import LimitKind
from weighbridge.rules.lease import PoolKey
from weighbridge.rules.units import COUNTER_MAX

NOW_MS = 1_764_000_000_000  # 2025-11-24T16:00:00Z
DAY_MS = 86_400_000
TERMS = LeaseTerms(ttl_ms=60_000, lost_after_ms=600_000)

CATALOG = """
catalog: api
features:
  calls: {type: metered}
  jobs: {type: metered}
  soft: {type: metered}
  turns: {type: metered}
plans:
  pro:
    features:
      calls: {limits: [{limit: 100, window: lifetime}]}
      jobs: {limits: [{limit: 60, window: month}, {limit: 20, window: day}]}
      soft: {limits: [{limit: 5, window: month, kind: soft}]}
      turns: {limits: [{limit: 50, window: {rolling: hour}}]}
  trial: {features: {jobs: {limits: [{limit: 7, window: year}]}}}
"""


class Leased:
    """An environment with what one control-plane process remembers."""

    def __init__(self, database: Database, catalog: str = CATALOG) -> None:
        self.database = database
        self.library = CatalogLibrary()
        self.cache = CounterCache(self.library)
        self.granter = Granter(Random(7), TERMS)
        self.now_ms = NOW_MS
        # By the last one who asked.
        self.units_granted = 0
        self.apply(catalog)

    def apply(self, text: str) -> None:
        source = CatalogSource(text, "catalog.yaml")
        with self.database.writing() as connection:
            provisioning.apply_catalog(connection, self.library, source, None, self.now_ms)

    def create(self, customer: str, plan: str = "pro", parent: str = "") -> None:
        new = NewCustomer(customer, customer, "", (), plan, parent)
        with self.database.writing() as connection:
            provisioning.create_customer(connection, self.library, new, self.now_ms)

    def set_limit(self, customer: str, limit: int, feature: str = "calls") -> None:
        limits = (WantedLimit("lifetime", limit, LimitKind.HARD),)
        wanted = WantedOverride(customer, WantedEntitlement(feature, limits=limits))
        with self.database.writing() as connection:
            provisioning.set_override(connection, self.library, wanted, self.now_ms)

    def subscribe(self, customer: str, plan: str) -> None:
        wanted = provisioning.WantedSubscription(customer=customer, plan=plan)
        with self.database.writing() as connection:
            provisioning.set_subscription(connection, self.library, wanted, self.now_ms)

    def settle(self, *records: UsageRecord) -> Settlement:
        with self.database.writing() as connection:
            return settle_records(connection, records, self.cache, self.now_ms)

    def post(self, **work: Any) -> LeasesPosted:
        with self.database.writing() as connection:
            return self.granter.post(connection, LeaseWork(**work), self.cache, self.now_ms)

    def ask(self, sidecar: Sidecar, *wants: Want) -> Granted | Short:
        posted = self.post(askings=[Asking(sidecar.id, wants)])
        self.units_granted = posted.units_granted
        return posted.answers[0]

    def tick(self) -> LeasesPosted:
        return self.post(is_tick=True)

    def check(self) -> PoolSums:
        with self.database.reading() as connection:
            return check_all(connection)

    def rows(self, table: Any) -> list[Any]:
        with self.database.reading() as connection:
            return list(connection.execute(select(table)).all())

    def pool(self, key: PoolKey) -> Any:
        return next(
            row
            for row in self.rows(lease_pool)
            if (row.customer_id, row.feature_id, row.limit_id, row.window_start_ms)
            == (key.customer, key.feature, key.limit_id, key.window_start_ms)
        )

    def leases(self) -> dict[int, Any]:
        return {row.id: row for row in self.rows(lease)}

    def states(self) -> dict[tuple[str, str], str]:
        return {(row.sidecar_id, row.epoch): row.state for row in self.rows(lease_holder)}


@dataclass
class Held:
    """A lease as its sidecar knows it."""

    granted: int
    returned: int = 0
    drawn: int = 0

    @property
    def rest(self) -> int:
        return self.granted - self.returned - self.drawn


@dataclass
class Sidecar:
    """A sidecar that does as the protocol says."""

    name: str
    customer: str
    start: int = 1
    number: int = 0
    held: dict[int, Held] = field(default_factory=dict)
    # By epoch, oldest first.
    unsent: list[UsageRecord] = field(default_factory=list)
    written: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def epoch(self) -> str:
        return f"e{self.start}"

    @property
    def id(self) -> tuple[str, str]:
        return (self.name, self.epoch)

    def learn(self, leases: Iterable[LeaseNow]) -> None:
        for each in leases:
            held = self.held.setdefault(each.id, Held(0))
            held.granted = max(held.granted, each.granted)

    def record(self, *entries: UsageEntry, draws: Iterable[Draw] = ()) -> UsageRecord:
        self.number += 1
        made = record(self.id, self.number, *entries, draws=tuple(draws))
        self.unsent.append(made)
        self.written[self.id] = self.number
        return made

    def spend(self, id_: int, units: int, at_ms: int) -> UsageRecord:
        """Admit usage with units of a lease."""
        self.held[id_].drawn += units
        assert self.held[id_].rest >= 0
        return self.record(entry(self.customer, units, at_ms), draws=[Draw(id_, units)])

    def give_back(self, id_: int, units: int) -> tuple[Returned, ...]:
        self.held[id_].returned += units
        return (self.said(id_),)

    def end(self, id_: int) -> tuple[Returned, ...]:
        """Give back all that is left, and want no more of the lease."""
        self.held[id_].returned += self.held[id_].rest
        said = self.said(id_)._replace(has_ended=True)
        del self.held[id_]
        return (said,)

    def said(self, id_: int) -> Returned:
        return Returned(id_, self.held[id_].returned, self.held[id_].granted)

    def claim(self, *, may_have_lost: bool = False) -> HolderClaim:
        held = tuple(self.said(id_) for id_ in self.held)
        return HolderClaim(self.id, held, dict(self.written), may_have_lost)

    def restart(self) -> None:
        self.start += 1
        self.number = 0
        self.held = {}


def record(
    epoch: tuple[str, str], number: int, *entries: UsageEntry, draws: tuple[Draw, ...] = ()
) -> UsageRecord:
    digest = sha256(repr((entries, draws)).encode()).digest()[:16]
    return UsageRecord(*epoch, number, digest, entries, draws)


def entry(
    customer: str, amount: int = 1, at_ms: int = NOW_MS, feature: str = "calls", **changes: Any
) -> UsageEntry:
    made = UsageEntry(customer, "", feature, amount, at_ms, UsageKind.CONSUME)
    return made._replace(**changes)


def calls_of(customer: str) -> PoolKey:
    """Return the pool of the lifetime limit."""
    return PoolKey(customer, "", "calls", "lifetime", 0)


def want(customer: str, units_min: int, units: int | None = None, limit: int = COUNTER_MAX) -> Want:
    return Want(calls_of(customer), units_min, units_min if units is None else units, limit)


def granted(answer: Granted | Short) -> Mapping[int, int]:
    assert isinstance(answer, Granted), answer
    return {each.id: each.granted for each in answer.leases}


def lease_of(leased: Leased, sidecar: Sidecar, units: int) -> int:
    """Have a sidecar get a lease of exactly so many units."""
    answer = leased.ask(sidecar, want(sidecar.customer, units))
    assert isinstance(answer, Granted)
    sidecar.learn(answer.leases)
    return answer.leases[0].id


def terms(leased: Leased, key: PoolKey | None = None) -> tuple[int, int, int, int]:
    pool = leased.pool(key or calls_of("acme"))
    assert not leased.check().differences
    return (pool.granted_limit, pool.available, pool.overage, pool.settled)
