"""The whole system under one seed: time goes on in events, and a step makes something happen."""

from __future__ import annotations

import heapq
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from random import Random

from sqlalchemy import text

from control_plane import provisioning
from control_plane.leasing.conservation import PoolSums, check_all
from control_plane.metering.ingest import Settlement
from control_plane.provisioning import (
    CatalogSource,
    NewCustomer,
    WantedEntitlement,
    WantedLimit,
    WantedOverride,
)
from sidecar.transport.seam import Call, Status
from tests.simulation.control_plane_node import ControlPlaneNode
from tests.simulation.machines import Running, Timeline, deterministic
from tests.simulation.network import Network
from tests.simulation.parts import Part
from tests.simulation.sidecar_node import SidecarNode
from tests.simulation.tally import (
    HOUR_MS,
    LIMITS,
    PARENTS,
    LimitOf,
    PoolOf,
    RecordOf,
    Stated,
    Tally,
    ViolationError,
)
from weighbridge.rules.catalog import Edition, Entitlement, LimitKind
from weighbridge.rules.window import Period, Window, WindowKind

# Thousands of small syncs wait for no disk there.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
SIDECARS = 4
PROVISIONED_BEFORE_MS = 30 * 86_400_000

CATALOG = """
catalog: api
features:
  calls: {{type: metered, consistency: leased, outage: deny}}
  jobs: {{type: metered, consistency: leased, outage: leased}}
  turns: {{type: metered, consistency: leased, outage: deny}}
{features}plans:
  pro:
    features:
      calls: {{limits: [{{limit: {calls}, window: lifetime}}]}}
      jobs: {{limits: [{{limit: {jobs}, window: lifetime}}, {{limit: {hour}, window: hour}}]}}
      turns: {{limits: [{{limit: 20, window: {{rolling: {{minutes: 1}}}}}}]}}
{granted}    prices:
      USD:
        - {{flat: 0}}
{priced}"""

# Two statements each, for the simulation trusts nothing that posts.
_USED = text(
    "SELECT customer_id, feature_id, SUM(amount) FROM usage_event WHERE kind <> 'spend'"
    " GROUP BY 1, 2"
)
_USED_BELOW = text(
    """
    SELECT COALESCE(SUM(amount), 0) FROM usage_event
    WHERE feature_id = :feature AND occurred_at_ms >= :start_ms AND occurred_at_ms < :end_ms AND (
        customer_id = :customer
        OR customer_id IN (SELECT id FROM customer WHERE parent_id = :customer)
    )
    """
)
_MARKS = text("SELECT sidecar_id, epoch, number FROM usage_epoch")


def _wanted(id_: str, limit: int) -> WantedLimit:
    # Whole, so that it needs nothing of the plan: a clock set back may know no subscription.
    window = Window(WindowKind.LIFETIME)
    if id_ == "hour":
        window = Window(WindowKind.CALENDAR, Period.HOUR, "UTC")
    return WantedLimit(id_, limit, LimitKind.HARD, window)


def _limits_of(override: Entitlement | None) -> dict[str, int | None]:
    return {} if override is None else {each.id: each.limit for each in override.limits}


class World:
    """One control plane, a few sidecars, and what is known of them from outside."""

    def __init__(
        self, seed: int, folder: Path, running: Running, parts: Sequence[type[Part]]
    ) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.timeline = Timeline()
        self.trace = blake2b(digest_size=8)
        self.lines: list[str] = []
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._next_event = 0
        self.network = Network(self.timeline, self._fork(), self.schedule)
        self.upper = ControlPlaneNode(self.timeline, self._fork(), self.schedule)
        self.upper.on_settled = self._settled
        self.upper.on_stream_error = lambda stream, error: self.note(f"{stream.name}: {error}")
        self.upper.on_died = self._died
        self.nodes = [
            SidecarNode(
                f"s{number}",
                folder,
                self.network,
                self.upper,
                running,
                (self.timeline, self._fork(), self.schedule),
            )
            for number in range(1, SIDECARS + 1)
        ]
        self.tally = Tally()
        # Acknowledged records that a power loss may have taken, and those of disks that are gone.
        self.lost: set[RecordOf] = set()
        self.lost_disks: set[RecordOf] = set()
        self.has_lost_machines = False
        self._held: dict[str, tuple[object, dict[str, object]]] = {}
        self._checked_writes = -1
        self.limits = {"calls": 60, "jobs": 80, "hour": 40}
        self.parts = [part(self) for part in parts]
        for node in self.nodes:
            node.on_answer = self._answered
            node.after = self._after
            node.on_expired = self.tally.expired
        # Long ago, so that no step of the clock goes back behind it.
        self.upper.step_ms = -PROVISIONED_BEFORE_MS
        self._provision()
        self.upper.step_ms = 0
        self.upper.start()
        for node in self.nodes:
            node.start()

    def _fork(self) -> Random:
        return Random(self.random.getrandbits(64))

    # Time

    def schedule(self, delay_ms: int, work: Callable[[], None]) -> None:
        """Have something happen later."""
        at_ms = self.timeline.now_ms + max(delay_ms, 0)
        heapq.heappush(self._events, (at_ms, self._next_event, work))
        self._next_event += 1

    def run_for(self, span_ms: int) -> None:
        """Let time go by."""
        end_ms = self.timeline.now_ms + span_ms
        while self._events and self._events[0][0] <= end_ms:
            at_ms, _, work = heapq.heappop(self._events)
            self.timeline.now_ms = at_ms
            work()
        self.timeline.now_ms = end_ms

    def note(self, line: str) -> None:
        """Keep a line of what happened, for whoever reads a failure, and for comparing runs."""
        line = f"{self.timeline.now_ms:>8} {line}"
        self.trace.update(line.encode())
        self.lines.append(line)

    # What is provisioned

    def administer(self, work: Callable[[], object]) -> None:
        """Change what is provisioned, as the process of the control plane does."""
        if self.upper.process is None:
            return
        work()
        self._state_limits()
        if self.random.random() < 0.8:
            self.upper.process.publish_soon()

    def set_limit(self, customer: str, feature: str, limits: dict[str, int]) -> None:
        wanted = WantedEntitlement(
            feature, limits=tuple(_wanted(id_, limit) for id_, limit in limits.items())
        )
        with self.upper.database.writing() as connection:
            provisioning.set_override(
                connection, self._library(), WantedOverride(customer, wanted), self.upper.wall_ms()
            )

    def has_override(self, customer: str, feature: str) -> bool:
        with self.upper.database.reading() as connection:
            found = provisioning.get_customer(connection, customer).customer
            return any(o.entitlement.feature == feature for o in found.overrides)

    def remove_limit(self, customer: str, feature: str) -> None:
        with self.upper.database.writing() as connection:
            provisioning.remove_override(connection, customer, "", feature, self.upper.wall_ms())

    def apply_catalog(self, **limits: int) -> None:
        self.limits.update(limits)
        text = CATALOG.format(
            **self.limits,
            features="".join(part.features for part in self.parts),
            granted="".join(part.granted for part in self.parts),
            priced="".join(part.priced for part in self.parts),
        )
        source = CatalogSource(text, "catalog.yaml")
        with self.upper.database.writing() as connection:
            provisioning.apply_catalog(
                connection, self._library(), source, None, self.upper.wall_ms()
            )

    def _library(self) -> provisioning.CatalogLibrary:
        process = self.upper.process
        return provisioning.CatalogLibrary() if process is None else process.library

    def _provision(self) -> None:
        self.apply_catalog()
        for customer, parent in PARENTS.items():
            new = NewCustomer(customer, customer, "", (), "pro", parent)
            with self.upper.database.writing() as connection:
                provisioning.create_customer(connection, self._library(), new, self.upper.wall_ms())
        self._state_limits()

    def _state_limits(self) -> None:
        """Read what every limit is now."""
        with self.upper.database.reading() as connection:
            catalog = self._library().load(connection, "api")
            for customer in PARENTS:
                found = provisioning.get_customer(connection, customer).customer
                overrides = {o.entitlement.feature: o.entitlement for o in found.overrides}
                for feature, ids in LIMITS.items():
                    override = overrides.get(feature)
                    limits = _limits_of(override)
                    for id_ in ids:
                        planned = self.limits["hour" if id_ == "hour" else feature]
                        limit = limits.get(id_, planned)
                        assert limit is not None, "every limit is finite"
                        self.tally.state_limit(
                            LimitOf(customer, feature, id_),
                            Stated(found.version, Edition(*catalog.edition), limit),
                        )

    # What is watched

    def check(self) -> None:
        """Check everything that always holds."""
        if self._checked_writes == self.upper.database.writes:
            return
        self._checked_writes = self.upper.database.writes
        sums = self.sums()
        if sums.differences:
            raise ViolationError(f"conservation: {sums.differences[0]}")
        marks = self.marks()
        for what, units in (self.used() - self.expected(marks)).items():
            raise ViolationError(f"{units} units of {what} are counted that nobody used")
        for part in self.parts:
            part.check()

    def sums(self) -> PoolSums:
        with self.upper.database.reading() as connection:
            return check_all(connection)

    def used(self) -> Counter[tuple[str, str]]:
        """Return what the control plane has settled."""
        with self.upper.database.reading() as connection:
            return Counter({(c, f): int(units) for c, f, units in connection.execute(_USED)})

    def settled_in(self, pool: PoolOf) -> int:
        """Return what is settled in a window that nothing was leased of."""
        customer, feature, limit_id = pool.of
        end_ms = pool.start_ms + HOUR_MS if limit_id == "hour" else 2**62
        window = {"start_ms": pool.start_ms, "end_ms": end_ms}
        with self.upper.database.reading() as connection:
            of = {"customer": customer, "feature": feature, **window}
            return int(connection.execute(_USED_BELOW, of).scalar_one())

    def marks(self) -> dict[tuple[str, str], int]:
        with self.upper.database.reading() as connection:
            return {(s, e): int(number) for s, e, number in connection.execute(_MARKS)}

    def expected(self, marks: dict[tuple[str, str], int]) -> Counter[tuple[str, str]]:
        """Return what was acknowledged in the records up to the marks; a fleet-wide key once."""
        units: Counter[tuple[str, str]] = Counter()
        keys: set[tuple[str, str]] = set()
        for record, usages in self.tally.acknowledged.items():
            if record.number > marks.get((record.sidecar_id, record.epoch), 0):
                continue
            for usage in usages:
                if usage.key:
                    if (usage.customer, usage.key) in keys:
                        continue
                    keys.add((usage.customer, usage.key))
                units[usage.customer, usage.feature] += usage.units
        return units

    def _answered(self, node: SidecarNode, call: Call, answer: bytes | Status) -> None:
        said = answer.hex() if isinstance(answer, bytes) else f"{answer.code.name} {answer.detail}"
        self.note(f"{node.name} {call.method.value} {call.payload!r}: {said}")
        self.tally.take(node, call, answer)
        for part in self.parts:
            part.answered(node, call, answer)

    def _after(self, node: SidecarNode) -> None:
        self.tally.look_at_holds(node)
        self._compare_versions(node)
        for part in self.parts:
            part.after(node)

    def _compare_versions(self, node: SidecarNode) -> None:
        """No version that a process holds goes back."""
        if not node.is_up:
            return
        cache = node.parts.gate.cache
        now: dict[str, object] = {c.id: c.version for c in cache.customers()}
        now.update((f"catalog {c.id}", tuple(c.edition)) for c in cache.catalogs())
        process, before = self._held.get(node.name, (None, {}))
        if process is cache:
            for name, version in before.items():
                if now.get(name, version) < version:  # type: ignore[operator]
                    raise ViolationError(f"{node.name}: {name} went back from {version} to {now}")
        self._held[node.name] = (cache, now)

    def _settled(self, settlement: Settlement) -> None:
        self.note(f"settled {settlement.records} records, again {settlement.records_repeated}")
        if settlement.draws_refused:
            raise ViolationError(f"{settlement.draws_refused} draws that no lease has")
        if settlement.set_aside:
            raise ViolationError(f"usage set aside: {dict(settlement.set_aside)}")

    def _died(self) -> None:
        self.note("the control plane died in a transaction")
        self.schedule(self.random.randint(10, 4_000), self.upper.start)

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
        self.upper.stop()
        self.upper.database.close()


@contextmanager
def world_of(seed: int, parts: Sequence[type[Part]]) -> Iterator[World]:
    """Make the world of a seed; what it wrote is removed afterwards."""
    running = Running()
    with (
        tempfile.TemporaryDirectory(prefix="simulation-", dir=MEMORY) as folder,
        deterministic(running, Random(seed)),
    ):
        world = World(seed, Path(folder), running, parts)
        try:
            yield world
        finally:
            world.close()
