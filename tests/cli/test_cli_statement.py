"""Statements on the command line, from calls through a real sidecar to a page."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from running_pair import CommandLine

from weighbridge.cli.exit_codes import ExitCode
from weighbridge.runtime.clock import wall_ms

CATALOG = """
catalog: billed
features:
  pages: {type: metered, unit: page, consistency: cached}
plans:
  print:
    features: {pages: unlimited}
    prices:
      USD:
        - {flat: 5.00}
        - feature: pages
          graduated: [{up_to: 10, unit: 0}, {unit: 0.25}]
"""


@pytest.fixture
def billed(cli: CommandLine, tmp_path: Path) -> CommandLine:
    path = tmp_path / "billed.yaml"
    path.write_text(CATALOG, encoding="utf-8")
    assert cli("catalog", "apply", str(path), "--yes").exit_code == ExitCode.OK
    return cli


def test_usage_becomes_a_statement_to_read_and_to_send(billed: CommandLine, tmp_path: Path) -> None:
    cli = billed
    made = cli("customer", "create", "printer", "--catalog", "billed", "--plan", "print")
    assert made.exit_code == ExitCode.OK, made.err
    cli.wait_for_plan("printer", "print")
    assert cli("consume", "printer", "pages", "--amount", "14").exit_code == ExitCode.OK
    cli.wait_for_usage("printer", 14)

    shown = cli("statement", "printer", "--json").json["statement"]
    assert (shown["total_minor"], shown["currency"], shown["final"]) == (600, "USD", False)
    (fee, pages) = shown["lines"]
    assert (fee["kind"], fee["amount_minor"]) == ("FLAT", 500)
    assert (pages["quantity"], pages["amount"], pages["amount_minor"]) == (14, "1", 100)
    assert [(tier["units"], tier["unit_price"]) for tier in pages["tiers"]] == [
        (10, "0"),
        (4, "0.25"),
    ]
    (used,) = shown["usage"]
    assert (used["feature"], used["amount"]) == ("pages", 14)

    page = tmp_path / "statement.html"
    text = cli("statement", "printer", "--html", str(page))
    assert text.exit_code == ExitCode.OK
    for part in ("provisional", "10 at 0, 4 at 0.25", "6.00 USD", "pages"):
        assert part in text.out
    written = page.read_text("utf-8")
    assert "<h1>Statement of printer</h1>" in written
    assert "Total 6.00 USD" in written

    refused = cli("statement", "printer", "--close")
    assert refused.exit_code == ExitCode.CONFLICT
    assert "still runs" in refused.err


def test_a_statement_of_the_past_is_closed_once(billed: CommandLine) -> None:
    cli = billed
    cli("customer", "create", "past", "--catalog", "billed", "--plan", "print")
    year = datetime.fromtimestamp(wall_ms() / 1000, UTC).year - 1
    closing = ("statement", "past", "--period", f"{year}-03", "--close")
    first = cli(*closing, "--json").json
    assert (first["unchanged"], first["statement"]["number"]) == (False, 1)
    assert cli(*closing, "--json").json["unchanged"] is True
    assert "nothing is different" in cli(*closing).out
    listed = cli("statement", "past", "--list", "--json").json["statements"]
    assert [each["number"] for each in listed] == [1]
    assert f"{year}-03-01" in cli("statement", "past", "--list").out


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("--period", "2026-13"), ExitCode.USAGE, "no month"),
        (("--from", "2026-01-01"), ExitCode.USAGE, "go together"),
        (("--from", "2026-01-01", "--to", "2026-01-01"), ExitCode.INVALID, "to_unix_ms"),
        (("--period", "2026-01", "--currency", "EUR"), ExitCode.INVALID, "currency"),
    ],
)
def test_a_wrong_question_is_told(
    billed: CommandLine, arguments: tuple[str, ...], exit_code: ExitCode, said: str
) -> None:
    billed("customer", "create", "asker", "--catalog", "billed", "--plan", "print")
    answer = billed("statement", "asker", *arguments)
    assert answer.exit_code == exit_code
    assert said in answer.err
