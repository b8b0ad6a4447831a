"""Limits that go up and down."""

from __future__ import annotations

from collections.abc import Sequence

from tests.simulation.parts import Part, Step, StepKind
from tests.simulation.sidecar_node import SidecarNode
from tests.simulation.tally import LIMITS, PARENTS


class Changing(Part):
    """Overrides that are set and removed, and catalogs with other limits."""

    def steps(self) -> Sequence[Step]:
        return [Step(StepKind.CHANGE, 10, self._change_limits)]

    def _change_limits(self, _node: SidecarNode) -> None:
        world, random = self.world, self.random
        customer = random.choice(tuple(PARENTS))
        feature = random.choice(tuple(LIMITS))
        units = random.choice((0, 10, 30, 60, 90, 200))
        share = random.random()
        world.note(f"limits of {customer} {feature} {units} {share:.3f}")
        if share < 0.2:
            name = random.choice(tuple(world.limits))
            world.administer(lambda: world.apply_catalog(**{name: units}))
        elif share < 0.4 and world.has_override(customer, feature):
            world.administer(lambda: world.remove_limit(customer, feature))
        else:
            ids = dict.fromkeys(LIMITS[feature], units)
            world.administer(lambda: world.set_limit(customer, feature, ids))
