"""`weighbridge replay` on small files in the shapes of real traces."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from running_pair import CommandLine, catalog_text

from weighbridge.cli.exit_codes import ExitCode
from weighbridge.cli.root import run

DRAFT = """catalog: llm
features:
  requests: {type: metered}
  input_tokens: {type: metered}
  output_tokens: {type: metered}
  models: {type: enum, values: [small, large]}
plans:
  tier:
    features:
      requests: {limits: [{limit: 2, window: hour}]}
      input_tokens: {limits: [{limit: 1000, window: day}]}
      output_tokens: unlimited
      models: [small]
    prices:
      USD:
        - {feature: input_tokens, match: {model: small}, per_unit: 2.50, per: 1000}
        - {feature: output_tokens, match: {model: small}, per_unit: 10.00, per: 1000}
"""
BEFORE = DRAFT.replace("{limit: 2, window: hour}", "{limit: 9, window: hour}")

# As the public traces are written: seven decimal places, and CRLF.
AZURE = (
    "customer,TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "a,2023-11-16 18:17:03.9799600,400,10\r\n"
    "a,2023-11-16 18:17:04.0319600,100,20\r\n"
    "a,2023-11-16 18:17:04.1000000,100,40\r\n"
    "b,2023-11-16 18:17:05.0000000,900,5"
)
AZURE_OPTIONS = (
    *("--time", "TIMESTAMP", "--plan", "tier", "--dimension", "model==small"),
    *("--usage", "requests==1"),
    *("--usage", "input_tokens=ContextTokens", "--usage", "output_tokens=GeneratedTokens"),
)


class Ran(NamedTuple):
    exit_code: int
    out: str
    err: str

    @property
    def rows(self) -> dict[str, dict[str, object]]:
        """The rows by feature, as JSON."""
        return {row["feature"]: row for row in json.loads(self.out)["plans"]}


class Replayer:
    """Writes files and replays them."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capsys = capsys
        self.draft = self.write("draft.yaml", DRAFT)
        self.before = self.write("before.yaml", BEFORE)

    def write(self, name: str, text: str) -> Path:
        file = self.directory / name
        data = text.encode()
        file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return file

    def __call__(self, file: Path | str, *arguments: str) -> Ran:
        code = run(["replay", "--catalog", str(self.draft), str(file), *arguments])
        return Ran(code, *self._capsys.readouterr())


@pytest.fixture(name="replay")
def replayer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Replayer:
    return Replayer(tmp_path, capsys)


def test_before_and_after_as_tables(replay: Replayer) -> None:
    file = replay.write("azure.csv", AZURE)
    ran = replay(file, *AZURE_OPTIONS, "--before", str(replay.before))
    assert ran.exit_code == ExitCode.OK
    assert "llm: 4 rows of 2 customers, 2023-11-16 18:17:03Z to 2023-11-16 18:17:05Z" in ran.out
    assert "2023-11-16 18:17:04Z" in ran.out
    assert "Refused most under the draft" in ran.out
    # 1,500 and 1,400 input tokens at 2.50, 75 and 35 output tokens at 10.00.
    for figures in (
        ("3.75", "3.50", "-0.25"),
        ("0.75", "0.35", "-0.40"),
        ("4.50", "3.85", "-0.65"),
    ):
        line = next(line for line in ran.out.splitlines() if figures[0] in line.split())
        assert line.split()[-4:-1] == list(figures)


def test_the_csv_has_every_customer(replay: Replayer) -> None:
    file = replay.write("azure.csv.gz", AZURE)
    out = replay.directory / "out.csv"
    ran = replay(file, *AZURE_OPTIONS, "--before", str(replay.before), "--csv", str(out))
    assert ran.exit_code == ExitCode.OK
    rows = {
        (row["customer"], row["feature"]): row
        for row in csv.DictReader(io.StringIO(out.read_text(encoding="utf-8")))
    }
    assert len(rows) == 6
    row = rows["a", "input_tokens"]
    assert (row["plan"], row["calls"], row["units"]) == ("tier", "3", "600")
    assert (row["before_refused_calls"], row["after_refused_calls"]) == ("0", "1")
    assert row["after_first_refused_at"] == "2023-11-16T18:17:04.100Z"
    assert (row["before_charge"], row["after_charge"]) == ("1.50", "1.25")
    assert (row["charge_difference"], row["currency"]) == ("-0.25", "USD")
    assert rows["b", "requests"]["after_charge"] == ""
    assert [file.name for file in replay.directory.iterdir() if "unfinished" in file.name] == []


def test_json_lines_with_times_from_a_start(replay: Replayer) -> None:
    lines = [
        {"timestamp": 0, "in": 10, "hash_ids": [0, 1]},
        {"timestamp": 1_500, "in": 20, "hash_ids": []},
        {"timestamp": 3_600_000, "in": 5, "hash_ids": []},
    ]
    file = replay.write("mooncake.jsonl.gz", "\n\n".join(map(json.dumps, lines)))
    options = ("--customer", "=all", "--time", "timestamp", "--time-unit", "ms", "--plan", "tier")
    options += ("--start", "2025-01-01", "--usage", "input_tokens=in", "--json")
    ran = replay(file, *options)
    document = json.loads(ran.out)
    assert (document["from"], document["to"]) == (
        "2025-01-01T00:00:00.000Z",
        "2025-01-01T01:00:00.000Z",
    )
    assert ran.rows["input_tokens"]["units"] == 35
    assert ran.rows["input_tokens"]["before"] is None


def test_tabs_and_unix_seconds(replay: Replayer) -> None:
    rows = ["host\ttime\turl", *(f'h{n % 2}\t80725680{n}\t/a "b' for n in range(6))]
    file = replay.write("nasa.tsv", "\n".join(rows))
    ran = replay(
        *(file, "--customer", "host", "--time", "time", "--plan", "tier"),
        *("--feature", "=requests", "--json"),
    )
    assert json.loads(ran.out)["to"] == "1995-08-01T06:00:05.000Z"
    after = ran.rows["requests"]["after"]
    assert isinstance(after, dict)
    assert (after["refused_calls"], after["customers_refused"]) == (2, 2)
    assert after["reasons"] == {"limit_reached": 2}


def test_feature_plan_and_value_from_columns(replay: Replayer) -> None:
    file = replay.write(
        "mixed.csv",
        "customer,occurred_at,what,much,plan\n"
        "a,1700000000.250,input_tokens,5,tier\n"
        "a,1700000001,models,large,tier\n"
        "a,1700000002000,models,small,tier\n"
        "a,1700000003,nothing,1,tier\n",
    )
    options = ("--feature", "what", "--amount", "much", "--plan-column", "plan", "--json")
    ran = replay(file, *options)
    assert json.loads(ran.out)["from"] == "2023-11-14T22:13:20.250Z"
    refused = {name: row["after"]["reasons"] for name, row in ran.rows.items()}  # type: ignore[index]
    assert refused == {
        "input_tokens": {},
        "models": {"value_not_allowed": 1},
        "nothing": {"feature_unknown": 1},
    }


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a,2023-11-16,ten,1", "ContextTokens: 'ten' is not an integer"),
        ("a,2023-11-16,1.5,1", "ContextTokens: '1.5' is not an integer"),
        ("a,2023-11-16,-4,1", "ContextTokens: -4 is negative; an amount is 0 to"),
        ("a,yesterday,1,1", "TIMESTAMP: 'yesterday' is no time"),
        ("a,-5,1,1", "TIMESTAMP: '-5' is no instant after 1970"),
        (",2023-11-16,1,1", "customer: is empty"),
        ("a,2023-11-16,1", "has 3 cells; the first line has 4"),
        ('a,2023-11-16,"1"2,1', "',' expected after '\"'"),
    ],
)
def test_a_row_that_cannot_be_read(replay: Replayer, row: str, problem: str) -> None:
    head, *rest = AZURE.split("\r\n")
    file = replay.write("bad.csv", "\r\n".join([head, rest[0], row, *rest[1:]]))
    out = replay.directory / "out.csv"
    ran = replay(file, *AZURE_OPTIONS, "--csv", str(out))
    assert ran.exit_code == ExitCode.INVALID
    assert ran.out == ""
    assert ran.err.startswith(f"error: {file}:3: {problem}"), ran.err
    assert not out.exists()
    skipped = replay(file, *AZURE_OPTIONS, "--skip-bad", "--json")
    document = json.loads(skipped.out)
    assert (document["rows"], document["rows_skipped"]) == (4, 1)
    assert document["first_skipped"].startswith(f"{file}:3: {problem}")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("u.csv", "customer,ContextTokens\n", "1: no column 'TIMESTAMP'; it has customer"),
        ("u.csv", "a,a\n", "1: a column is named twice"),
        ("u.csv", AZURE.split("\r\n", maxsplit=1)[0], " no usage in it"),
        ("u.jsonl", "{]\n", "1: is no JSON"),
        ("u.jsonl", "[1]\n", "1: is no JSON object"),
        ("u.jsonl", '{"customer": "a"}\n', "1: TIMESTAMP: the row has no such column"),
        ("u.txt", "", " what it is cannot be told from its name"),
    ],
)
def test_a_file_that_cannot_be_replayed(
    replay: Replayer, name: str, text: str, problem: str
) -> None:
    file = replay.write(name, text)
    ran = replay(file, *AZURE_OPTIONS)
    assert (ran.exit_code, ran.out) == (ExitCode.INVALID, "")
    assert ran.err.startswith(f"error: {file}:{problem}"), ran.err


def test_damaged_and_missing_files(replay: Replayer) -> None:
    whole = replay.write("cut.csv.gz", AZURE).read_bytes()
    cut = replay.directory / "cut.csv.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    plain = replay.directory / "plain.csv.gz"
    plain.write_text(AZURE)
    for file in (cut, plain, replay.directory / "none.csv"):
        ran = replay(file, *AZURE_OPTIONS, "--skip-bad")
        assert (ran.exit_code, ran.out) == (ExitCode.INVALID, "")
        assert "cannot be read: " in ran.err


def test_usage_from_stdin(replay: Replayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(AZURE))
    assert replay("-", *AZURE_OPTIONS).exit_code == ExitCode.OK


@pytest.mark.parametrize(
    "arguments",
    [
        ["--plan", "tier"],
        ["--plan", "tier", "--feature", "f", "--usage", "requests=n"],
        ["--plan", "tier", "--usage", "none=n"],
        ["--plan", "tier", "--feature", "=none"],
        ["--plan", "tier", "--usage", "requests"],
        ["--plan", "tier", "--usage", "requests="],
        ["--plan", "tier", "--usage", "requests=a", "--usage", "requests=b"],
        ["--usage", "requests=n"],
        ["--plan", "tier", "--plan-column", "plan", "--usage", "requests=n"],
        ["--plan", "tier", "--usage", "requests=n", "--seats", "0"],
        ["--plan", "tier", "--usage", "requests=n", "--live", "--before", "x.yaml"],
    ],
)
def test_command_lines_that_say_too_little_or_too_much(
    replay: Replayer, arguments: list[str]
) -> None:
    file = replay.write("azure.csv", AZURE)
    assert replay(file, *arguments).exit_code == ExitCode.USAGE


def test_a_plan_and_a_draft_that_are_wrong(replay: Replayer) -> None:
    file = replay.write("azure.csv", AZURE)
    ran = replay(file, *AZURE_OPTIONS, "--plan", "gold")
    assert f"{file}:2: plan: 'gold' is not in the catalog; it has tier" in ran.err
    other = replay.write("other.yaml", DRAFT.replace("catalog: llm", "catalog: other"))
    ran = replay(file, *AZURE_OPTIONS, "--before", str(other))
    assert "'other' and 'llm' are different catalogs" in ran.err
    broken = replay.write("broken.yaml", "catalog: llm\n")
    ran = replay(file, *AZURE_OPTIONS, "--before", str(broken))
    assert (ran.exit_code, ran.out) == (ExitCode.INVALID, "")


def test_the_live_catalog_is_what_a_draft_is_compared_with(
    cli: CommandLine, tmp_path: Path
) -> None:
    draft = tmp_path / "draft.yaml"
    draft.write_text(catalog_text(limit=1_000))
    usage = tmp_path / "usage.csv"
    rows = [f"a,2026-01-0{day},{amount}" for day, amount in ((1, 9), (2, 900))]
    usage.write_text("\n".join(["customer,occurred_at,amount", *rows]))
    ran = cli(
        *("replay", str(usage), "--catalog", str(draft), "--live", "--plan", "free"),
        *("--feature", "=api.calls", "--amount", "amount", "--json"),
    )
    (row,) = [row for row in ran.json["plans"] if row["feature"] == "api.calls"]
    assert row["before"]["refused_calls"] > row["after"]["refused_calls"]
