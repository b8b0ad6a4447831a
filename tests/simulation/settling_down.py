"""Faults stop: everything has to arrive, every unit has to be somewhere, and be given out again."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from sqlalchemy import select

from control_plane.leasing.accounts import HolderState
from control_plane.storage.lease_tables import lease, lease_hold, lease_holder, lease_pool
from sidecar.transport.seam import Call, Method, Status
from tests.simulation import rolling
from tests.simulation.control_plane_node import TERMS
from tests.simulation.sidecar_node import SidecarNode
from tests.simulation.simulated_world import World
from tests.simulation.tally import (
    HOUR_MS,
    LIMITS,
    PARENTS,
    LimitOf,
    PoolOf,
    ViolationError,
    pools_of,
)
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb

IDLE_MS: Final = 64_000
"""Longer than a lease may be idle."""

LOST_MS: Final = TERMS.ttl_ms + TERMS.lost_after_ms + 5_000
STEP_MS: Final = 500


class PoolUnits(NamedTuple):
    """Where the units of a pool are."""

    available: int
    settled: int
    leased: int
    presumed: int
    held: int
    overage: int


def settle_down(world: World) -> None:
    """Let faults end, wait, and check that nothing is missing or out of reach."""
    world.upper.database.strike = lambda _where: False
    world.network.delay_ms_max, world.network.slow_share = 20, 0.0
    # Time that was ahead once comes again, so that every term runs out.
    behind_ms = world.upper.latest_wall_ms - world.upper.wall_ms()
    world.upper.step_ms += max(behind_ms, 0)
    world.note("faults end")
    world.upper.start()
    for node in world.nodes:
        node.is_cut_off = node.keeps_images = False
        node.resume()
        node.start()
    _run(world, 20_000)
    _end_holds(world)
    # Not right before an hour turns: what is asked for at the end is of one window.
    _run(world, max(LOST_MS, IDLE_MS) if world.lost_disks else IDLE_MS)
    left_ms = HOUR_MS - world.upper.wall_ms() % HOUR_MS
    if left_ms < 60_000:
        _run(world, left_ms + 5_000)
    _check_records(world)
    _check_usage(world)
    _check_units(world)
    for part in world.parts:
        part.settle_down()
    _take_the_rest(world)
    _take_a_window(world)


def _run(world: World, span_ms: int) -> None:
    for _ in range(0, span_ms, STEP_MS):
        world.run_for(STEP_MS)
        world.check()


def _end_holds(world: World) -> None:
    """Have every hold released by who knows of it."""
    for node in world.nodes:
        for hold in list(node.parts.gate.reservations):
            request = sidecar_pb.ReleaseRequest(
                customer=hold.customer, reservation=hold.reservation
            )
            node.call(Method.RELEASE, request)


def _check_records(world: World) -> None:
    for node in world.nodes:
        session, journal = node.parts._session, node.parts._journal
        if not session.is_welcome or not node.parts.gate.link.is_connected:
            raise ViolationError(f"{node.name} is not connected again")
        if journal.unsettled_records:
            raise ViolationError(f"{node.name}: {journal.unsettled_records} records not settled")
        if len(node.parts._waiting):
            raise ViolationError(f"{node.name}: calls wait for ever")


def _check_usage(world: World) -> None:
    """Usage is counted once for each receipt, except of records that a machine lost."""
    marks = world.marks()
    for record, usages in world.tally.acknowledged.items():
        is_settled = record.number <= marks.get((record.sidecar_id, record.epoch), 0)
        if not is_settled and record not in world.lost and record not in world.lost_disks:
            raise ViolationError(f"{record} with {usages} was acknowledged, and is not settled")
    used, expected = world.used(), world.expected(marks)
    difference = {
        what: (used[what], expected[what])
        for what in used.keys() | expected.keys()
        if used[what] != expected[what]
    }
    if difference:
        raise ViolationError(f"settled, and acknowledged: {difference}")


def pool_units(world: World) -> dict[PoolOf, PoolUnits]:
    """Return where all units are, read from the rows."""
    with world.upper.database.reading() as connection:
        presumed: Counter[int] = Counter()
        leased: Counter[int] = Counter()
        held: Counter[int] = Counter()
        for row in connection.execute(select(lease)):
            presumed[row.pool_id] += row.presumed
            leased[row.pool_id] += row.granted - row.returned - row.drawn - row.presumed
        for row in connection.execute(select(lease_hold)):
            held[row.pool_id] += row.units
        return {
            PoolOf(
                LimitOf(row.customer_id, row.feature_id, row.limit_id), row.window_start_ms
            ): PoolUnits(
                row.available,
                row.settled,
                leased[row.id],
                presumed[row.id],
                held[row.id],
                row.overage,
            )
            for row in connection.execute(select(lease_pool))
        }


def _check_units(world: World) -> None:
    """Nothing is leased any more; held and presumed is only what machines lost."""
    has_lost = bool(world.lost or world.lost_disks) or world.has_lost_machines
    for pool, units in pool_units(world).items():
        if units.leased:
            raise ViolationError(f"{units.leased} units of {pool} are leased still")
        if not has_lost and (units.held or units.presumed):
            raise ViolationError(f"{pool}: {units}, and no machine lost anything")
    with world.upper.database.reading() as connection:
        for row in connection.execute(select(lease_holder)):
            sound = row.state in (HolderState.OPEN.value, HolderState.CLOSED.value)
            if not sound and not has_lost:
                raise ViolationError(f"an epoch stays {row.state}: {row}")


def _take_the_rest(world: World) -> None:
    """Have the last unit of every limit, and not one more."""
    for customer in PARENTS:
        for feature in LIMITS:
            left = _left(world, customer, feature)
            node = world.random.choice(world.nodes)
            if left:
                _expect(world, node, (customer, feature, left), is_allowed=True)
            _run(world, 1_000)
            other = world.random.choice(world.nodes)
            _expect(world, other, (customer, feature, 1), is_allowed=False)
    _run(world, 2_000)


def _take_a_window(world: World) -> None:
    """Once all has left a rolling window, have all of its limit, and not one unit more."""
    _run(world, LOST_MS + 2 * rolling.LEFT_MS)
    for customer in ("acme", "solo"):
        first, other = world.random.sample(world.nodes, 2)
        # Holds of machines that are lost go back one window after their own deadline.
        units = pool_units(world).get(PoolOf(LimitOf(customer, rolling.FEATURE, "rolling"), 0))
        left = rolling.LIMIT - (0 if units is None else units.held)
        if left:
            _expect(world, first, (customer, rolling.FEATURE, left), is_allowed=True)
        _run(world, 1_000)
        _expect(world, other, (customer, rolling.FEATURE, 1), is_allowed=False)


def _left(world: World, customer: str, feature: str) -> int:
    """Return what limits leave of all that is not used, held or lost."""
    units = pool_units(world)
    left = []
    for pool in pools_of(customer, feature, world.upper.wall_ms()):
        limit = world.tally.limits[pool.of][-1].limit
        found = units.get(pool)
        # What is leased and not spent is recalled.
        taken = world.settled_in(pool) if found is None else _gone(found)
        left.append(max(limit - taken, 0))
    return min(left)


def _gone(units: PoolUnits) -> int:
    return units.settled + units.presumed + units.held


def _expect(
    world: World, node: SidecarNode, what: tuple[str, str, int], *, is_allowed: bool
) -> None:
    customer, feature, amount = what
    answers: list[bytes | Status] = []
    told = node.on_answer

    def answered(of: SidecarNode, call: Call, answer: bytes | Status) -> None:
        told(of, call, answer)
        answers.append(answer)

    node.on_answer = answered
    request = sidecar_pb.ConsumeRequest(customer=customer, feature=feature, amount=amount)
    node.call(Method.CONSUME, request)
    while not answers:
        _run(world, STEP_MS)
    if not isinstance(answers[-1], bytes):
        # The caller had little patience.
        node.call(Method.CONSUME, request)
        _run(world, 4_000)
    node.on_answer = told
    answer = answers[-1]
    if not isinstance(answer, bytes):
        raise ViolationError(f"{node.name}: no answer on {what}: {answer}")
    decision = sidecar_pb.ConsumeResponse.FromString(answer).decision
    if decision.allowed is not is_allowed:
        raise ViolationError(
            f"{node.name}: {what} was to be {'allowed' if is_allowed else 'refused'}: {decision}"
            f" {pool_units(world)}"
        )
