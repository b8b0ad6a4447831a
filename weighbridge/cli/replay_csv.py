"""A replay's figures by customer and feature, as CSV."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from weighbridge.cli.exit_codes import CommandError, ExitCode
from weighbridge.replay.report import Outcome, Report, Row
from weighbridge.rules.rating.money import Currency

_OUTCOME: Final = (
    "refused_calls",
    "refused_units",
    "first_refused_at",
    "observed_calls",
    "charge",
)
COLUMNS: Final = (
    "plan",
    "customer",
    "feature",
    "calls",
    "units",
    *(f"before_{name}" for name in _OUTCOME),
    *(f"after_{name}" for name in _OUTCOME),
    "charge_difference",
    "currency",
)


def write_csv(file: Path, report: Report) -> None:
    """Write a line per customer and feature, all or nothing. Raises CommandError."""
    unfinished = file.with_name(f".{file.name}.unfinished")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(COLUMNS)
            for plan, customer, feature, row in report.lines():
                currency = report.currencies.get(plan)
                writer.writerow((plan, customer, feature, *_cells(row, currency, report)))
        unfinished.replace(file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise CommandError(f"cannot write {file}: {error.strerror}", ExitCode.FAILED) from error


def _cells(row: Row, currency: Currency | None, report: Report) -> tuple[str | int, ...]:
    before = _outcome_cells(row.before, currency) if report.has_before else ("",) * len(_OUTCOME)
    difference = difference_minor(row) if report.has_before else None
    return (
        row.calls,
        row.units,
        *before,
        *_outcome_cells(row.after, currency),
        amount_text(difference, currency),
        "" if currency is None else currency.code,
    )


def _outcome_cells(outcome: Outcome, currency: Currency | None) -> tuple[str | int, ...]:
    first_ms = outcome.first_refused_ms
    return (
        outcome.refused_calls,
        outcome.refused_units,
        "" if first_ms is None else iso_text(first_ms),
        outcome.observed_calls,
        amount_text(outcome.charge_minor, currency),
    )


def difference_minor(row: Row) -> int | None:
    """Return what the draft charges more, in minor units; None where neither charges."""
    before, after = row.before.charge_minor, row.after.charge_minor
    return None if before is None and after is None else (after or 0) - (before or 0)


def amount_text(minor: int | None, currency: Currency | None) -> str:
    """Return an amount of money; empty where there is none."""
    return "" if minor is None or currency is None else f"{currency.major(minor):f}"


def iso_text(at_ms: int) -> str:
    """Return an instant in ISO 8601, to the millisecond."""
    seconds, milliseconds = divmod(at_ms, 1000)
    instant = datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
