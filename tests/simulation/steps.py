"""Draws what happens next: calls of applications, changes, and faults."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from tests.simulation.parts import Step, StepKind
from tests.simulation.simulated_world import World

KEPT_SHARE: Final = 0.6
"""The share of all kinds of faults and changes that a seed has: what rare ones do together shows
where frequent ones do not hide it."""


class Steps:
    """Draws what happens next, from the world's seed alone."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random: Random = Random(world.random.getrandbits(64))
        # A few seeds are calm, most have some faults, and some have little else.
        self._shares = {
            StepKind.FAULT: self.random.choice((0.0, 0.03, 0.08, 0.2)),
            StepKind.CHANGE: self.random.choice((0.0, 0.02, 0.12)),
            StepKind.DIRECTED: self.random.choice((0.0, 0.02, 0.05)),
        }
        self._steps = {kind: self._swarm(kind) for kind in StepKind}
        world.upper.database.strike = self._strike

    def _swarm(self, kind: StepKind) -> list[tuple[Step, float]]:
        """Return what of a kind there is in this seed, and how often."""
        steps = [step for part in self.world.parts for step in part.steps() if step.kind is kind]
        share = 1.0 if kind is StepKind.CALL else KEPT_SHARE
        kept = [step for step in steps if self.random.random() < share]
        return [(s, s.weight * self.random.choice((0.3, 1, 1, 3))) for s in kept or steps]

    def run(self, steps: int, *, on_step: Callable[[], None] = lambda: None) -> None:
        """Have so many things happen, and check the world after each."""
        for _ in range(steps):
            self.step()
            self.world.check()
            on_step()

    def step(self) -> None:
        random, world = self.random, self.world
        world.run_for(self._span_ms())
        node = random.choice(world.nodes)
        kind = self._draw_kind()
        if kind is not StepKind.CALL:
            step = self._draw(kind)
            if step is not None:
                step.work(node)
        elif node.is_up:
            for _ in range(random.choice((1, 1, 2, 5))):
                step = self._draw(kind)
                if step is not None:
                    step.work(node)

    def _draw_kind(self) -> StepKind:
        share = self.random.random()
        for kind, of_all in self._shares.items():
            if share < of_all:
                return kind
            share -= of_all
        return StepKind.CALL

    def _span_ms(self) -> int:
        share = self.random.random()
        if share < 0.9:
            return self.random.randint(0, 120)
        if share < 0.985:
            return self.random.randint(0, 3_000)
        return self.random.randint(0, 15_000)

    def _draw(self, kind: StepKind) -> Step | None:
        steps = self._steps[kind]
        if not steps:
            return None
        return self.random.choices([s for s, _ in steps], [weight for _, weight in steps])[0]

    def _strike(self, where: str) -> bool:
        """Say whether a transaction of the control plane fails there."""
        shares = {"begin": 0.01, "conflict": 0.3, "commit": 0.03, "answer": 0.03}
        return self.random.random() < shares[where] * self._shares[StepKind.FAULT]
