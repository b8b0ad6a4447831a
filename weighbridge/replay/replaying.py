"""Replays events through the catalog that is live and the draft of it, side by side."""

from __future__ import annotations

from collections import Counter as Tally

from weighbridge.replay.event import Event
from weighbridge.replay.report import CustomerRows, Late, Report, Row
from weighbridge.replay.simulation import Simulation, Terms
from weighbridge.rules.catalog import Catalog
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.charge import Charge
from weighbridge.rules.rating.money import Currency


class Replay:
    """Takes events one after the other, in the order of time for each customer."""

    def __init__(self, draft: Catalog, before: Catalog | None, terms: Terms) -> None:
        """Raise InvalidArgumentError where the two are not versions of one catalog."""
        if before is not None and before.id != draft.id:
            problem = f"{before.id!r} and {draft.id!r} are different catalogs"
            raise InvalidArgumentError("catalog", problem)
        self._after = Simulation(draft, terms, self._charged_after)
        self._before = None if before is None else Simulation(before, terms, self._charged_before)
        self._customers: dict[str, CustomerRows] = {}
        self._now_ms: dict[str, int] = {}
        self._currencies: dict[str, Currency] = {}
        self._unpriced: Tally[str] = Tally()
        self._late = Late()
        self._events = 0
        self._first_ms = 2**63
        self._last_ms = 0

    def take(self, event: Event) -> None:
        """Decide an event in both catalogs.

        Raises InvalidArgumentError, and has then taken nothing, where the plan is in neither
        catalog, where the customer was on another plan before, or where the currency is not clear.
        """
        customer = self._customers.get(event.customer)
        if customer is None:
            self._require_plan(event.plan)
            customer = self._customers[event.customer] = CustomerRows(event.plan, {})
        elif customer.plan != event.plan:
            raise InvalidArgumentError(
                "plan",
                f"{event.plan!r}, but {event.customer!r} was on {customer.plan!r} before; "
                "a customer has one plan in a replay",
            )
        now_ms = self._clock(event)
        self._events += 1
        after = self._after.take(event, now_ms)
        before = None if self._before is None else self._before.take(event, now_ms)
        for index, asked in enumerate(event.asked):
            row = customer.rows.get(asked.feature)
            if row is None:
                row = customer.rows[asked.feature] = Row()
            row.calls += 1
            row.units += asked.units
            row.after.count(after[index], asked.units, now_ms)
            if before is not None:
                row.before.count(before[index], asked.units, now_ms)

    def finish(self) -> Report:
        """End the replay: every customer is charged up to the period of the last event."""
        self._after.finish(self._last_ms)
        if self._before is not None:
            self._before.finish(self._last_ms)
        return Report(
            catalog=self._after.catalog.id,
            has_before=self._before is not None,
            events=self._events,
            first_ms=min(self._first_ms, self._last_ms),
            last_ms=self._last_ms,
            late=self._late,
            customers=self._customers,
            currencies=self._currencies,
            unpriced=self._unpriced,
        )

    def _clock(self, event: Event) -> int:
        """Return when an event is decided: a customer's time never goes back."""
        last_ms = self._now_ms.get(event.customer, event.at_ms)
        if event.at_ms < last_ms:
            late = self._late
            self._late = Late(late.events + 1, max(late.by_ms_max, last_ms - event.at_ms))
        now_ms = self._now_ms[event.customer] = max(last_ms, event.at_ms)
        self._first_ms = min(self._first_ms, event.at_ms)
        self._last_ms = max(self._last_ms, now_ms)
        return now_ms

    def _require_plan(self, plan: str) -> None:
        if plan in self._currencies:
            return
        sides = [self._after] if self._before is None else [self._before, self._after]
        if all(side.catalog.plan(plan) is None for side in sides):
            have = ", ".join(sorted({name for side in sides for name in side.catalog.plans}))
            raise InvalidArgumentError("plan", f"{plan!r} is not in the catalog; it has {have}")
        pricings = [pricing for side in sides if (pricing := side.pricing(plan)) is not None]
        found = {pricing.currency for pricing in pricings}
        if len(found) > 1:
            codes = ", ".join(sorted(each.code for each in found))
            raise InvalidArgumentError("currency", f"plan {plan!r} is sold in {codes}; name one")
        self._currencies.update((plan, currency) for currency in found)

    def _charged_before(self, customer: str, charge: Charge) -> None:
        rows = self._customers[customer].rows
        for line in charge.lines:
            rows.setdefault(line.origin.feature, Row()).before.charge(line.minor)

    def _charged_after(self, customer: str, charge: Charge) -> None:
        rows = self._customers[customer].rows
        for line in charge.lines:
            rows.setdefault(line.origin.feature, Row()).after.charge(line.minor)
        for usage in charge.unmatched:
            self._unpriced[usage.feature] += usage.quantity
