"""Faults of networks, processes, machines and clocks."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.transport.seam import Method
from tests.simulation.calling import CUSTOMERS, FEATURES
from tests.simulation.parts import Part, Step, StepKind
from tests.simulation.sidecar_node import SidecarNode
from tests.simulation.tally import RecordOf, Usage
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb


class Failing(Part):
    """Everything that goes wrong by itself."""

    def steps(self) -> Sequence[Step]:
        weights = (
            (self._break, 20),
            (self._cut_off, 10),
            (self._kill, 12),
            (self._restart, 6),
            (self._lose_power, 8),
            (self._lose_disk, 3),
            (self._pause, 10),
            (self._kill_control_plane, 8),
            (self._step_clock, 5),
            (self._slow_network, 4),
            (self._wall_clock, 3),
        )
        return [Step(StepKind.FAULT, weight, work) for work, weight in weights]

    def _say(self, node: SidecarNode, what: str) -> None:
        self.world.note(f"{node.name} {what}")

    def _break(self, node: SidecarNode) -> None:
        self._say(node, "stream breaks")
        node.break_stream()

    def _cut_off(self, node: SidecarNode) -> None:
        self._say(node, "cut off")
        node.is_cut_off = True
        if node.stream is not None:
            node.stream.cut()

        def reach() -> None:
            node.is_cut_off = False

        self.world.schedule(self.random.choice((1_000, 7_000, 20_000, 60_000)), reach)

    def _start_later(self, node: SidecarNode) -> None:
        self.world.schedule(self.random.choice((10, 1_000, 12_000, 60_000)), node.start)

    def _kill(self, node: SidecarNode) -> None:
        self._say(node, "killed")
        node.kill()
        self._start_later(node)

    def _restart(self, node: SidecarNode) -> None:
        if not node.is_paused:
            self._say(node, "stops cleanly")
            node.stop()
            self._start_later(node)

    def _lose_power(self, node: SidecarNode) -> None:
        if not node.is_up:
            return
        self._say(node, "loses power")
        written = self._written(node)
        node.lose_power()
        self.world.tally.forget_keys(node)
        self.world.has_lost_machines = True
        # What is lost and was not settled before is settled never.
        self.world.lost.update(written)
        self._start_later(node)

    def _lose_disk(self, node: SidecarNode) -> None:
        self._say(node, "loses its disk")
        self.world.lost_disks.update(self._written(node))
        self.world.has_lost_machines = True
        self.world.tally.forget_holds(node)
        node.lose_disk()
        self._start_later(node)

    def _written(self, node: SidecarNode) -> dict[RecordOf, list[Usage]]:
        """Return all that was acknowledged by the disk of a node."""
        acknowledged = self.world.tally.acknowledged
        return {
            record: usages
            for record, usages in acknowledged.items()
            if (record.sidecar_id, record.epoch) in node.epochs
        }

    def _pause(self, node: SidecarNode) -> None:
        if not node.is_up or node.is_paused:
            return
        self._say(node, "pauses")
        node.pause()
        for _ in range(self.random.randint(0, 3)):
            customer = self.random.choice(CUSTOMERS)
            feature = self.random.choice(FEATURES)
            node.call_late(
                Method.CONSUME,
                sidecar_pb.ConsumeRequest(customer=customer, feature=feature, amount=2),
            )
        self.world.schedule(self.random.choice((500, 4_000, 12_000, 50_000)), node.resume)

    def _kill_control_plane(self, _node: SidecarNode) -> None:
        self.world.note("the control plane is killed")
        self.world.upper.stop()
        self.world.schedule(self.random.choice((10, 1_000, 15_000)), self.world.upper.start)

    def _step_clock(self, _node: SidecarNode) -> None:
        step_ms = self.random.choice((-3_600_000, -20_000, -1_000, 1_000, 20_000, 3_600_000))
        self.world.note(f"the control plane's clock steps by {step_ms}")
        self.world.upper.step_ms += step_ms
        self.world.tally.rolling.forget()
        if abs(step_ms) > 60_000:
            self.world.tally.forget_keys()

    def _wall_clock(self, node: SidecarNode) -> None:
        node.machine.wall_skew_ms = self.random.randint(-4_000_000, 4_000_000)

    def _slow_network(self, _node: SidecarNode) -> None:
        self.world.network.delay_ms_max = self.random.choice((5, 40, 400, 2_000))
