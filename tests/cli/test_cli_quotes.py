"""`weighbridge quote`: on a running pair, and what it shows of money."""

from __future__ import annotations

import pytest
from running_pair import CommandLine

from weighbridge.cli.decision_view import decision_table, money_text
from weighbridge.cli.exit_codes import UsageError
from weighbridge.cli.output import print_human
from weighbridge.cli.quote import _item, _view
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1 import types_pb2


def test_a_quote_on_a_running_pair(cli: CommandLine) -> None:
    cli.make_customer("quoted", "pro")
    shown = cli("quote", "quoted", "api.calls=1000", "--json")
    assert shown.exit_code == 0, shown.err
    assert shown.json["items"][0]["decision"]["allowed"]
    assert (shown.json["plan"], shown.json["currency"]) == ("pro", "")
    assert "allowed" in cli("quote", "quoted", "api.calls=1000").out
    refused = cli("quote", "quoted", "api.calls=1", "nothing=5", "--json")
    assert refused.exit_code == 1
    assert refused.json["items"][1]["decision"]["reason"] == "FEATURE_UNKNOWN"
    assert cli("quote", "quoted", "api.calls").exit_code == 2


@pytest.mark.parametrize("text", ["tokens", "tokens=", "=5", "tokens=-1", "a=1,b", "a=1,b=c,b=d"])
def test_what_is_no_item(text: str) -> None:
    with pytest.raises(UsageError, match="DIMENSION=VALUE"):
        _item(text)


def test_an_item_with_dimensions() -> None:
    item = _item("tokens=1000,model=small,region=")
    assert (item.feature, item.amount) == ("tokens", 1000)
    assert dict(item.dimensions) == {"model": "small", "region": ""}


@pytest.mark.parametrize(
    ("micros", "exponent", "shown"),
    [
        (5_000_000_000, 2, "50.00 USD"),
        (123_456_789_000_000, 2, "1,234,567.89 USD"),
        (15, 2, "0.00000015 USD"),
        (7_000_000, 0, "7 USD"),
        (0, 2, "0.00 USD"),
    ],
)
def test_money_as_people_write_it(micros: int, exponent: int, shown: str) -> None:
    assert money_text(micros, exponent, "USD") == shown


def test_a_refusal_for_money_as_people_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    decision = types_pb2.Decision(
        feature="tokens",
        reason=types_pb2.REASON_SPEND_LIMIT_REACHED,
        limit_id="day",
        allowed_amount=12,
        spend=types_pb2.SpendUsage(
            feature="spend",
            currency="USD",
            exponent=2,
            limit_micros=5_000_000_000,
            used_micros=4_950_000_000,
            remaining_micros=50_000_000,
        ),
    )
    print_human(decision_table(decision))
    shown = capsys.readouterr().out
    for part in ("SPEND_LIMIT_REACHED", "50.00 USD (spend, day)", "0.50 USD", "12"):
        assert part in shown
    assert "unlimited" not in shown


def test_a_quote_as_people_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    response = pb.QuoteResponse(
        items=[
            pb.QuotedItem(
                decision=types_pb2.Decision(feature="tokens", allowed=True),
                amount=1_000,
                hold_money=[
                    pb.MoneyHold(feature="spend", currency="USD", exponent=2, micros=10**8)
                ],
                hold_credits=pb.QuotedCredits(credit_type="gems", micro=2_500_000),
            )
        ],
        lines=[
            pb.QuotedLine(price="t", add_on="more", amount=1_000, included_amount=400, cost="0.6")
        ],
        currency="USD",
        total="0.60",
        credits=[pb.QuotedCredits(credit_type="gems", micro=2_500_000)],
        plan="pro",
        plan_version=3,
    )
    print_human(*_view(response))
    shown = capsys.readouterr().out
    for part in ("1.00 USD of spend", "2.5 gems", "t (more)", "400", "0.60 USD", "pro version 3"):
        assert part in shown
