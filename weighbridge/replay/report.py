"""What a replay found: per plan and feature, and per customer."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from weighbridge.rules.decision import Reason, Verdict
from weighbridge.rules.rating.money import Currency


@dataclass(slots=True)
class Outcome:
    """What one catalog did to some usage. `observed_calls` passed only because it is observed.

    `charge_minor` is in minor units; None where nothing has a price.
    """

    refused_calls: int = 0
    refused_units: int = 0
    first_refused_ms: int | None = None
    observed_calls: int = 0
    customers_refused: int = 0
    charge_minor: int | None = None
    reasons: Tally[Reason] = field(default_factory=Tally)

    def count(self, verdict: Verdict, units: int, at_ms: int) -> None:
        """Count a decision."""
        if verdict.reason is not None:
            self.refused_calls += 1
            self.refused_units += units
            self.reasons[verdict.reason] += 1
            self.customers_refused = 1
            if self.first_refused_ms is None or at_ms < self.first_refused_ms:
                self.first_refused_ms = at_ms
        elif verdict.observed is not None:
            self.observed_calls += 1

    def charge(self, minor: int) -> None:
        """Add to the charge."""
        self.charge_minor = (self.charge_minor or 0) + minor

    def add(self, other: Outcome) -> None:
        """Add what was done to other usage."""
        self.refused_calls += other.refused_calls
        self.refused_units += other.refused_units
        self.observed_calls += other.observed_calls
        self.customers_refused += other.customers_refused
        self.reasons.update(other.reasons)
        if other.charge_minor is not None:
            self.charge(other.charge_minor)
        if other.first_refused_ms is not None:
            first_ms = self.first_refused_ms
            self.first_refused_ms = (
                other.first_refused_ms
                if first_ms is None
                else min(first_ms, other.first_refused_ms)
            )


@dataclass(slots=True)
class Row:
    """Usage of one feature, by one customer or by all on a plan; what each catalog did to it.

    Without a feature: what is charged for no single one, such as a fee.
    """

    calls: int = 0
    units: int = 0
    customers: int = 1
    before: Outcome = field(default_factory=Outcome)
    after: Outcome = field(default_factory=Outcome)

    def add(self, other: Row) -> None:
        """Add the row of other customers."""
        self.calls += other.calls
        self.units += other.units
        self.customers += other.customers
        self.before.add(other.before)
        self.after.add(other.after)


class CustomerRows(NamedTuple):
    """One customer: its plan, and a row for each feature."""

    plan: str
    rows: dict[str, Row]


class Late(NamedTuple):
    """Events that lie before the same customer's last one: decided at that one's time."""

    events: int = 0
    by_ms_max: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """All that a replay found. `unpriced` units, by feature, fit no price of the draft."""

    catalog: str
    has_before: bool
    events: int
    first_ms: int
    last_ms: int
    late: Late
    customers: Mapping[str, CustomerRows]
    currencies: Mapping[str, Currency]
    unpriced: Mapping[str, int]

    def plans(self) -> dict[tuple[str, str], Row]:
        """Return the sums, by plan and feature in order; what has no feature comes last."""
        sums: dict[tuple[str, str], Row] = {}
        for plan, rows in self.customers.values():
            for feature, row in rows.items():
                total = sums.get((plan, feature))
                if total is None:
                    total = sums[plan, feature] = Row(customers=0)
                total.add(row)
        order = sorted(sums, key=lambda key: (key[0], not key[1], key[1]))
        return {key: sums[key] for key in order}

    def totals(self) -> dict[str, Row]:
        """Return the sums by plan, units left out: features count different things."""
        sums: dict[str, Row] = {}
        for plan, rows in self.customers.values():
            total = sums.setdefault(plan, Row(customers=0))
            whole = _of_one(rows.values())
            total.add(whole)
        return dict(sorted(sums.items()))

    def most_refused(self, count: int) -> list[tuple[str, str, str, Row]]:
        """Return plan, customer, feature and row of those with the most units refused."""
        refused = [each for each in self.lines() if each[3].after.refused_calls]
        refused.sort(key=lambda each: (-each[3].after.refused_units, each[1], each[2]))
        return refused[:count]

    def lines(self) -> Iterator[tuple[str, str, str, Row]]:
        """Yield plan, customer, feature and row, all in order."""
        for name, (plan, rows) in sorted(self.customers.items(), key=lambda c: (c[1].plan, c[0])):
            for feature in sorted(rows, key=lambda each: (not each, each)):
                yield plan, name, feature, rows[feature]


def _of_one(rows: Iterable[Row]) -> Row:
    """Return the sum of one customer's rows."""
    whole = Row(customers=0)
    for row in rows:
        whole.add(row)
    whole.customers = 1
    for outcome in (whole.before, whole.after):
        outcome.customers_refused = min(outcome.customers_refused, 1)
    return whole
