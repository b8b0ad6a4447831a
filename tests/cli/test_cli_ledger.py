"""Credits on the command line, against a running pair."""

from __future__ import annotations

from pathlib import Path

import pytest
from running_pair import CommandLine, Up, catalog_text, wait_until

from weighbridge.cli.credit_text import credits_text, parse_credits
from weighbridge.cli.exit_codes import UsageError

RELEASED = """
catalog: released
features: {calls: {type: metered}}
credit_types: {tokens: {costs: [{feature: calls, cost: 1}]}}
plans:
  pro:
    features: {calls: {credits: tokens}}
    credit_grants: [{id: monthly, type: tokens, amount: 100, every: month}]
"""


def test_credits_from_grant_to_verify(cli: CommandLine, tmp_path: Path) -> None:
    catalog = tmp_path / "prepaid.yaml"
    catalog.write_text(catalog_text(catalog="prepaid") + "credit_types: {tokens: {}}\n")
    assert cli("catalog", "apply", "--yes", str(catalog)).exit_code == 0
    assert cli("customer", "create", "prepaid", "--catalog", "prepaid").exit_code == 0
    granted = cli(
        "credits", "grant", "prepaid", "tokens", "12.5", "--kind", "prepaid", "--key", "g-1",
        "--expires", "+30d", "--priority", "10", "--paid", "1999:USD", "--note", "invoice 7",
        "--json",
    )  # fmt: skip
    assert granted.json["transaction"]["kind"] == "GRANT", granted.err
    spent = cli("credits", "charge", "prepaid", "tokens", "2.25", "--key", "c-1", "--event", "o-1")
    assert "grant:1 -2.25, spent +2.25" in spent.out, spent.err
    again = cli("credits", "charge", "prepaid", "tokens", "2.25", "--key", "c-1", "--event", "o-1")
    assert "the key was used before" in again.out
    refused = cli("credits", "charge", "prepaid", "tokens", "100")
    assert (refused.exit_code, "lacks" in refused.err) == (5, True)
    assert cli("credits", "refund", "prepaid", "c-1", "--amount", "0.25").exit_code == 0
    assert cli("credits", "adjust", "prepaid", "tokens", "1", "--add", "1").exit_code == 0
    assert cli("credits", "adjust", "prepaid", "tokens", "1", "--withdraw", "0.5").exit_code == 0

    assert "10" in cli("credits", "grants", "prepaid", "--credit", "tokens", "--all").out
    (balance,) = cli("ledger", "balance", "prepaid", "--json").json["balances"]
    assert balance["available_micro"] == 11_000_000
    assert (balance["reserved_micro"], balance["settled_micro"]) == (0, 2_000_000)
    assert "11" in cli("ledger", "balance", "prepaid").out
    then = cli("ledger", "balance", "prepaid", "--at", "1d", "--json").json["balances"]
    assert then[0]["granted_micro"] == 0
    explained = cli("ledger", "entries", "prepaid", "--event", "o-1", "--json").json
    assert [each["kind"] for each in explained["transactions"]] == ["REFUND", "SETTLE"]
    listed = cli("ledger", "entries", "prepaid", "--limit", "2")
    assert "--page-token" in listed.out
    verified = cli("ledger", "verify")
    assert (verified.exit_code, "Everything adds up." in verified.out) == (0, True)
    assert cli("ledger", "verify", "--json").json["differences"] == []
    assert cli("credits", "grants", "nobody").exit_code == 4


def test_a_plan_releases_its_grants(cli: CommandLine, tmp_path: Path) -> None:
    catalog = tmp_path / "released.yaml"
    catalog.write_text(RELEASED)
    assert cli("catalog", "apply", "--yes", str(catalog)).exit_code == 0
    made = cli("customer", "create", "released", "--catalog", "released", "--plan", "pro")
    assert made.exit_code == 0, made.err
    wait_until(lambda: len(cli("credits", "grants", "released", "--json").json["grants"]) == 1)
    (grant,) = cli("credits", "grants", "released", "--json").json["grants"]
    assert (grant["kind"], grant["balance_micro"]) == ("RECURRING", 100_000_000)
    assert cli("ledger", "verify").exit_code == 0


def test_wrong_lines_are_told(up: Up, cli: CommandLine) -> None:
    adjust = ("credits", "adjust", "prepaid", "tokens", "1")
    assert "either --add or --withdraw" in cli(*adjust).err
    assert "either --add or --withdraw" in cli(*adjust, "--add", "1", "--withdraw", "1").err
    wrong = cli("credits", "grant", "prepaid", "tokens", "1", "--paid", "USD")
    assert (wrong.exit_code, "not MINOR:CURRENCY" in wrong.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "micros"), [("1", 1_000_000), ("0.000001", 1), ("-2.5", -2_500_000), ("1e3", 10**9)]
)
def test_credits_are_decimals(text: str, micros: int) -> None:
    assert parse_credits("AMOUNT", text) == micros


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "0.0000001", "1" * 31])
def test_what_is_no_amount_is_quoted(text: str) -> None:
    with pytest.raises(UsageError, match="AMOUNT: "):
        parse_credits("AMOUNT", text)


def test_credits_are_shown_exactly() -> None:
    assert [credits_text(each) for each in (0, 1, 1_500_000, -2_000_000_000_001)] == [
        "0", "0.000001", "1.5", "-2,000,000.000001",
    ]  # fmt: skip
