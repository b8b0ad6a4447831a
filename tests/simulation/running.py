"""Runs one seed from its first step until everything has settled down."""

from __future__ import annotations

from typing import NamedTuple

from tests.simulation.settling_down import settle_down
from tests.simulation.simulated_world import World, world_of
from tests.simulation.steps import Steps
from tests.simulation.world_parts import PARTS

STEPS = 300


class Run(NamedTuple):
    """What became of a seed. `trace` is a digest of everything that happened."""

    seed: int
    steps: int
    failure: str
    trace: str
    answers: dict[str, int]
    lines: list[str]


def run_seed(seed: int, steps: int = STEPS) -> Run:
    """Run a seed. A broken invariant, or a defect that raises, is the failure."""
    with world_of(seed, PARTS) as world:
        failure = ""
        try:
            Steps(world).run(steps)
            settle_down(world)
        except Exception as error:  # noqa: BLE001 (whatever it is, the seed finds it again)
            failure = f"{type(error).__name__}: {error}"
        return _run(world, steps, failure)


def _run(world: World, steps: int, failure: str) -> Run:
    answers = dict(sorted(world.tally.answers.items()))
    return Run(world.seed, steps, failure, world.trace.hexdigest(), answers, world.lines)
