"""What a replay found, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from weighbridge.cli.instants import format_duration, format_instant
from weighbridge.cli.json_shapes import JsonObject
from weighbridge.cli.output import listing, number, plain, titled
from weighbridge.cli.replay_csv import amount_text, difference_minor, iso_text
from weighbridge.replay.report import Outcome, Report, Row
from weighbridge.rules.rating.money import Currency

Cells = list[str | Text]

_REFUSED: Final = ("refused calls", "refused units", "first refusal")


class Replayed(NamedTuple):
    """A replay: how many rows could not be read, and what was wrong with the first of them."""

    report: Report
    elapsed_s: float
    skipped: int
    first_skipped: str

    @property
    def rows_per_s(self) -> float:
        """How fast it was."""
        return self.report.events / max(self.elapsed_s, 1e-9)


def replay_view(replayed: Replayed, top: int) -> list[RenderableType]:
    """Return tables, and what a reader has to know of them."""
    report = replayed.report
    span = f"{format_instant(report.first_ms)} to {format_instant(report.last_ms)}"
    head = (
        f"{report.catalog}: {report.events:,} rows of {len(report.customers):,} customers, {span}; "
        f"{replayed.rows_per_s:,.0f} rows a second"
    )
    parts: list[RenderableType] = [Text(head), titled("Refused", _refusals(report))]
    if report.currencies:
        parts.append(titled("Charged", _charges(report)))
    most = [
        [customer, plan, feature, number(row.calls), *_refused_cells(row.after)]
        for plan, customer, feature, row in report.most_refused(top)
    ]
    if most:
        columns = ("customer", "plan", "feature", "calls", *_REFUSED)
        parts.append(titled("Refused most under the draft", listing(columns, most)))
    parts += [Text(plain(note), style="yellow") for note in _notes(replayed)]
    return parts


def _refusals(report: Report) -> Table:
    columns = ["plan", "feature", "customers", "calls", "units"]
    columns += ["catalog", *_REFUSED, "customers refused"]
    rows: list[Cells] = []
    for (plan, feature), row in report.plans().items():
        if row.calls:
            names: Cells = [
                plan,
                feature,
                number(row.customers),
                number(row.calls),
                number(row.units),
            ]
            for side, outcome in _outcomes(report, row):
                refused = _refused_cells(outcome)
                rows.append([*names, side, *refused, number(outcome.customers_refused)])
                names = [""] * len(names)
    return listing(columns, rows)


def _charges(report: Report) -> Table:
    columns = ["plan", "feature"]
    columns += ["before", "after", "difference"] if report.has_before else ["charge"]
    columns.append("currency")
    rows: list[Cells] = []
    for (plan, feature), row in report.plans().items():
        if difference_minor(row) is not None:
            rows.append(_charge_cells(report, (plan, feature or "(no feature)"), row))
    for plan, row in report.totals().items():
        if plan in report.currencies:
            rows.append(_charge_cells(report, (plan, "in all"), row))
    return listing(columns, rows)


def _charge_cells(report: Report, names: Sequence[str], row: Row) -> Cells:
    currency = report.currencies[names[0]]
    charges = [outcome.charge_minor for _, outcome in _outcomes(report, row)]
    if report.has_before:
        charges.append(difference_minor(row))
    return [*names, *(_money(minor, currency) for minor in charges), currency.code]


def _money(minor: int | None, currency: Currency) -> Text:
    text = "-" if minor is None else f"{currency.major(minor):,f}"
    return Text(text, justify="right")


def _refused_cells(outcome: Outcome) -> Cells:
    first_ms = outcome.first_refused_ms
    first = "" if first_ms is None else format_instant(first_ms)
    return [number(outcome.refused_calls), number(outcome.refused_units), first]


def _outcomes(report: Report, row: Row) -> Iterable[tuple[str, Outcome]]:
    after = ("draft", row.after)
    return (("before", row.before), after) if report.has_before else (after,)


def _notes(replayed: Replayed) -> Iterable[str]:
    report = replayed.report
    if replayed.skipped:
        first = replayed.first_skipped
        yield f"{replayed.skipped:,} rows could not be read and are left out; first {first}"
    if report.late.events:
        by = format_duration(report.late.by_ms_max)
        yield (
            f"{report.late.events:,} rows lie before the same customer's last one, by {by} at "
            "most; they are decided at that one's time"
        )
    observed = sum(row.after.observed_calls for row in report.plans().values())
    if observed:
        yield f"{observed:,} calls pass under the draft only because their feature is observed"
    for feature, units in sorted(report.unpriced.items()):
        yield f"{units:,} units of {feature} have dimensions that no price of the draft is for"
    if not report.has_before:
        yield "nothing to compare with: add --before FILE, or --live"


def replay_to_json(replayed: Replayed) -> JsonObject:
    """Return the documented shape."""
    report = replayed.report
    return {
        "catalog": report.catalog,
        "rows": report.events,
        "customers": len(report.customers),
        "from": iso_text(report.first_ms),
        "to": iso_text(report.last_ms),
        "rows_per_second": round(replayed.rows_per_s),
        "rows_skipped": replayed.skipped,
        "first_skipped": replayed.first_skipped or None,
        "rows_late": report.late.events,
        "late_ms_max": report.late.by_ms_max,
        "unpriced_units": dict(sorted(report.unpriced.items())),
        "plans": [
            {"plan": plan, "feature": feature or None, **_row_to_json(report, plan, row)}
            for (plan, feature), row in report.plans().items()
        ],
        "totals": [
            {"plan": plan, **_row_to_json(report, plan, row)}
            for plan, row in report.totals().items()
        ],
    }


def _row_to_json(report: Report, plan: str, row: Row) -> JsonObject:
    currency = report.currencies.get(plan)
    return {
        "customers": row.customers,
        "calls": row.calls,
        "units": row.units,
        "before": _outcome_to_json(row.before, currency) if report.has_before else None,
        "after": _outcome_to_json(row.after, currency),
        "currency": None if currency is None else currency.code,
    }


def _outcome_to_json(outcome: Outcome, currency: Currency | None) -> JsonObject:
    first_ms = outcome.first_refused_ms
    return {
        "refused_calls": outcome.refused_calls,
        "refused_units": outcome.refused_units,
        "customers_refused": outcome.customers_refused,
        "first_refused_at": None if first_ms is None else iso_text(first_ms),
        "observed_calls": outcome.observed_calls,
        "reasons": {
            reason.value: calls
            for reason, calls in sorted(outcome.reasons.items(), key=lambda each: each[0].value)
        },
        "charge": amount_text(outcome.charge_minor, currency) or None,
    }
