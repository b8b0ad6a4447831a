"""`weighbridge explain`: the text that a support person reads, word for word."""

from __future__ import annotations

import re

from running_pair import CommandLine

from weighbridge.cli.exit_codes import ExitCode

EXPLAINED = """\
customer  explained/ann
feature api.calls
has it yes
catalog shop (version 1)
as of INSTANT
Why
whose what comes to
1 explained/ann has no active subscription of its own nothing
2 explained/ann has what explained has (plan free, version 1), under the limits of explained yes
3 explained/ann override: month 2 (hard, calendar month) month 2 (hard, calendar month)
4 explained plan free, version 1: the newest, which it follows month LIMIT (hard, calendar month)
5 explained holds for it and all below it together month LIMIT (hard, calendar month)
What counts
limit whose used limit left window resets
month (hard) explained/ann 0 2 2 calendar month INSTANT
month (hard) explained 0 LIMIT LIMIT calendar month INSTANT
"""


def words(text: str) -> list[str]:
    """Return lines without rules, columns and instants."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "INSTANT", text)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if line.strip("─ ")]


def test_an_explanation_reads_from_the_answer_to_the_limits(cli: CommandLine) -> None:
    cli.make_customer("explained")
    made = cli("customer", "create", "explained/ann", "--parent", "explained")
    assert made.exit_code == ExitCode.OK, made.err
    assert "explained" in cli("customer", "list", "--parent", "explained").out
    override = cli("override", "set", "explained/ann", "api.calls", "--limit", "month=2")
    assert override.exit_code == ExitCode.OK, override.err
    asked = ("explain", "explained/ann", "api.calls")
    document = cli(*asked, "--json").json
    limit = document["limits"][1]["limit"]["limit"]
    expected = EXPLAINED.replace("LIMIT", f"{limit:,}")
    version = document["catalog_version"]
    expected = expected.replace("shop (version 1)", f"shop (version {version})")
    assert words(cli(*asked).out) == words(expected)
    assert [step["kind"] for step in document["steps"]] == [
        "NO_SUBSCRIPTION",
        "INHERITED",
        "OVERRIDE",
        "PLAN",
        "BOUND",
    ]
    refused = cli("explain", "explained/ann", "exports")
    assert refused.exit_code == ExitCode.OK
    assert "no: FEATURE_NOT_IN_PLAN" in refused.out
    assert "lacks it, so nobody below has it" in refused.out
    assert cli("explain", "nobody", "exports").exit_code == ExitCode.NOT_FOUND
