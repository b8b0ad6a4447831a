"""The parts that the simulation is made of."""

from __future__ import annotations

from typing import Final

from tests.simulation.calling import Calling
from tests.simulation.changing import Changing
from tests.simulation.exact import Exact
from tests.simulation.failing import Failing
from tests.simulation.parts import Part
from tests.simulation.spending import Spending

PARTS: Final[tuple[type[Part], ...]] = (Calling, Changing, Failing, Exact, Spending)
