"""A part of the simulated world: what may happen in it, and what has to hold of it.

Whoever adds a feature to the simulation writes one part in a file of its own and lists it in
`world_parts.PARTS`; nothing else has to change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from sidecar.transport.seam import Call, Status
from tests.simulation.sidecar_node import SidecarNode

if TYPE_CHECKING:
    from tests.simulation.simulated_world import World


class StepKind(Enum):
    """What a step is; how often each happens is drawn for a seed."""

    # An application calls. The node is up.
    CALL = "call"
    # Something is provisioned differently.
    CHANGE = "change"
    # Something fails. The node may be down.
    FAULT = "fault"
    # Several things in an order that draws seldom find by themselves.
    DIRECTED = "directed"


class Step(NamedTuple):
    """Something that may happen to a node, or beside it. A higher weight: more often."""

    kind: StepKind
    weight: int
    work: Callable[[SidecarNode], None]

    @property
    def name(self) -> str:
        return self.work.__name__.strip("_")


class Part:
    """Base of all parts: nothing happens, and everything holds."""

    features: ClassVar[str] = ""
    """Lines of the catalog's `features`, each with its line break."""

    granted: ClassVar[str] = ""
    """Lines of what the plan grants on them."""

    priced: ClassVar[str] = ""
    """Lines of what it costs in dollars."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = Random(world.random.getrandbits(64))

    def steps(self) -> Sequence[Step]:
        """Return what may happen."""
        return ()

    def answered(self, node: SidecarNode, call: Call, answer: bytes | Status) -> None:
        """Take in an answer that an application got."""

    def after(self, node: SidecarNode) -> None:
        """Check what holds each time after code of a sidecar ran."""

    def check(self) -> None:
        """Check what holds after every step, wherever the database was written meanwhile."""

    def settle_down(self) -> None:
        """Check what holds once faults have ended and everything has arrived."""
