"""Customers from CSV on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running_pair import CommandLine

from weighbridge.cli.exit_codes import ExitCode

HEADER = "customer,name,catalog,plan,seats,add_ons,external.crm,overrides\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "customers.csv"


def changes(cli: CommandLine, file: Path, *more: str) -> list[tuple[int, list[str]]]:
    rows: list[dict[str, Any]] = cli("customer", "import", str(file), "--json", *more).json["rows"]
    return [(int(each["line"]), each["changes"]) for each in rows]


def test_a_file_is_shown_then_applied_once(cli: CommandLine, file: Path) -> None:
    cli.make_customer("crm-old")
    file.write_text(
        HEADER
        + "crm-old,Old Inc.,,pro,7,seat=2,0017,api.calls:month=9000 exports=on\n"
        + "crm-new,,shop,free,,,0018,\n"
    )
    wanted = [
        (
            2,
            [
                "name: none -> Old Inc.",
                "subscription: free, 1 seats -> pro + 2 seat, 7 seats",
                "crm: none -> 0017",
                "override of api.calls: none -> month=9000",
                "override of exports: none -> on",
            ],
        ),
        (3, ["made", "subscription: none -> free, 1 seats", "crm: none -> 0018"]),
    ]
    assert changes(cli, file) == wanted
    assert cli("customer", "get", "crm-new").exit_code == ExitCode.NOT_FOUND
    assert "--yes applies it" in cli("customer", "import", str(file)).out
    assert changes(cli, file, "--yes") == wanted
    assert changes(cli, file, "--yes") == [(2, []), (3, [])]
    assert "nothing changes" in cli("customer", "import", str(file)).out
    cli.wait_for_plan("crm-old", "pro")
    file.write_text(HEADER + "crm-old,,,,,none,,api.calls:month=unlimited\n")
    assert changes(cli, file, "--yes") == [
        (
            2,
            [
                "subscription: pro + 2 seat, 7 seats -> pro, 7 seats",
                "override of api.calls: month=9000 -> month=unlimited",
            ],
        )
    ]


@pytest.mark.parametrize(
    ("row", "code", "said"),
    [
        ("crm-bad,,shop,gold,,,,", ExitCode.NOT_FOUND, "line 3: plan 'gold'"),
        ("crm-bad,,shop,free,x,,,", ExitCode.INVALID, ":3: seats: 'x'"),
        ("crm-bad,,shop,free,0,,,", ExitCode.INVALID, "line 3: quantity: 0"),
        ("crm-bad,,shop,free,,,,api.calls:month=x", ExitCode.INVALID, ":3: overrides: "),
        ("crm-bad,,shop,free,,,,api.calls", ExitCode.INVALID, ":3: overrides: "),
        ("crm-bad,,shop,free,,,,nothing=on", ExitCode.NOT_FOUND, "line 3: feature 'nothing'"),
        ("crm-bad,,shop,pro,,seat=x,,", ExitCode.INVALID, ":3: add_ons: "),
        ("crm-bad,,shop,,4,,,", ExitCode.INVALID, "line 3: plan: is empty"),
        ("crm-good,,shop,free,,,,", ExitCode.INVALID, "'crm-good' twice"),
    ],
)
def test_one_wrong_row_changes_nothing(
    cli: CommandLine, file: Path, row: str, code: ExitCode, said: str
) -> None:
    file.write_text(f"{HEADER}crm-good,,shop,free,,,,\n{row}\n")
    ended = cli("customer", "import", str(file), "--yes")
    assert (ended.exit_code, said in ended.err) == (code, True), ended.err
    assert cli("customer", "get", "crm-good").exit_code == ExitCode.NOT_FOUND
