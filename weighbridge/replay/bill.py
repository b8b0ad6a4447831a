"""What one customer is charged, period after period, while its usage goes by.

Of each billing period only sums are kept, and only while it is open.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Mapping

from weighbridge.replay.event import Dimensions
from weighbridge.replay.pricing import PlanPricing
from weighbridge.rules.rating.charge import Charge
from weighbridge.rules.rating.period import BillingPeriod
from weighbridge.rules.rating.priced import Priced
from weighbridge.rules.rating.rate import rate_terms
from weighbridge.rules.rating.usage import Usage
from weighbridge.rules.window import Period, Window, WindowKind, window_bounds

Book = Callable[[Charge], None]
"""Takes a charge, as each period ends."""


class Bill:
    """The open billing periods of one customer."""

    def __init__(self, pricing: PlanPricing, anchor_ms: int, at_ms: int, book: Book) -> None:
        self._pricing = pricing
        self._book = book
        self._open = [
            _OpenPeriod(every, priced, anchor_ms, at_ms)
            for every, priced in pricing.periods.items()
        ]

    def add(self, feature: str, dimensions: Dimensions, amount: int, at_ms: int) -> None:
        """Charge usage that was admitted."""
        for period in self._open:
            if at_ms >= period.end_ms:
                self._close(period, at_ms)
            priced = period.priced.get(feature)
            if priced is not None:
                period.add(feature, priced, dimensions, amount)

    def finish(self, at_ms: int) -> None:
        """End with the periods that hold the instant: they are charged whole."""
        for period in self._open:
            self._close(period, at_ms)
            self._book(self._charge(period))

    def _close(self, period: _OpenPeriod, at_ms: int) -> None:
        """Charge the periods that ended by then, those without usage too."""
        while at_ms >= period.end_ms:
            self._book(self._charge(period))
            period.turn()

    def _charge(self, period: _OpenPeriod) -> Charge:
        billed = BillingPeriod(period.start_ms, period.end_ms, period.every)
        return rate_terms(self._pricing.terms, period.usage(), billed)


class _OpenPeriod:
    """One period that has not ended, and what was used in it."""

    __slots__ = ("_amounts", "_anchor_ms", "_sums", "end_ms", "every", "priced", "start_ms")

    def __init__(
        self, every: Period, priced: Mapping[str, Priced], anchor_ms: int, at_ms: int
    ) -> None:
        self.every = every
        self.priced = priced
        self._anchor_ms = anchor_ms
        self._sums: dict[tuple[str, Dimensions], list[int]] = {}
        self._move(at_ms)

    def turn(self) -> None:
        """Go on with the period after this one."""
        self._move(self.end_ms)

    def add(self, feature: str, priced: Priced, dimensions: Dimensions, amount: int) -> None:
        """Count usage; of its dimensions only what prices look at."""
        pairs = priced.pairs
        seen = tuple([pair for pair in dimensions if pair in pairs]) if pairs else ()
        key = (feature, seen)
        if priced.is_capped and not priced.is_held:
            self._amounts.setdefault(key, Tally())[amount] += 1
            return
        total = self._sums.get(key)
        if total is None:
            self._sums[key] = [amount, 1]
        else:
            total[0] += amount
            total[1] += 1

    def usage(self) -> list[Usage]:
        """Return what was used."""
        used = [
            Usage(feature, max(units, 0), dimensions, transactions=calls)
            for (feature, dimensions), (units, calls) in self._sums.items()
        ]
        for (feature, dimensions), amounts in self._amounts.items():
            for amount, calls in amounts.items():
                used += [Usage(feature, amount, dimensions)] * calls
        return used

    def _move(self, at_ms: int) -> None:
        window = Window(WindowKind.ANNIVERSARY, self.every)
        bounds = window_bounds(window, at_ms, self._anchor_ms)
        assert bounds.end_ms is not None
        self.start_ms, self.end_ms = bounds.start_ms, bounds.end_ms
        # What is held stays held.
        self._sums = {key: of for key, of in self._sums.items() if self.priced[key[0]].is_held}
        self._amounts: dict[tuple[str, Dimensions], Tally[int]] = {}
