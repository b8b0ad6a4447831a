"""Charts of usage: what is drawn, and that it is sound XML."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from running_pair import CommandLine

from weighbridge.cli.exit_codes import ExitCode
from weighbridge.cli.usage_chart import Series, chart_of

DAY_MS = 86_400_000
SVG = "{http://www.w3.org/2000/svg}"


def bars(text: str) -> list[tuple[str, float]]:
    found = ET.fromstring(text).iter(f"{SVG}rect")
    return [
        (title.text or "", float(rect.attrib["height"]))
        for rect in found
        if (title := rect.find(f"{SVG}title")) is not None
    ]


def test_bars_are_stacked_in_proportion_and_gaps_are_kept() -> None:
    series = Series("day")
    for name, day, amount in (("calls", 0, 100), ("tokens", 0, 300), ("calls", 3, 200)):
        series.add(name, day * DAY_MS, amount)
    assert series.starts == [0, DAY_MS, 2 * DAY_MS, 3 * DAY_MS]
    drawn = bars(chart_of("acme <1>", series))
    assert {title for title, _ in drawn} == {
        "tokens, 01-01: 300",
        "calls, 01-01: 100",
        "calls, 01-04: 200",
    }
    heights = dict(drawn)
    assert abs(heights["tokens, 01-01: 300"] - 3 * heights["calls, 01-01: 100"]) < 0.3


def test_many_names_are_summed_as_others() -> None:
    series = Series("month")
    for number in range(20):
        series.add(f"f{number:02}", 0, 100 - number)
    assert len(series.names) == 8
    assert series.names[-1] == "others"
    assert series.amount("others", 0) == sum(100 - number for number in range(7, 20))


def test_nothing_used_says_so() -> None:
    assert "no usage" in chart_of("acme", Series("day"))


def test_usage_is_drawn_and_written_as_csv(cli: CommandLine, tmp_path: Path) -> None:
    cli.make_customer("drawn")
    cli("consume", "drawn", "api.calls", "--amount", "4", "--dimension", "model=large")
    cli.wait_for_usage("drawn", 4)
    file = tmp_path / "usage.svg"
    made = cli("usage", "chart", str(file), "--customer", "drawn", "--split-dimension", "model")
    assert made.exit_code == ExitCode.OK, made.err
    text = file.read_text("utf-8")
    assert "large" in text
    assert [title.split(":")[1] for title, _ in bars(text)] == [" 4"]
    told = cli("usage", "--customer", "drawn", "--by-dimension", "model", "--csv")
    assert told.out.splitlines() == [
        "customer,feature,model,amount,calls",
        "drawn,api.calls,large,4,1",
    ]
    both = cli("usage", "--csv", "--json")
    assert both.exit_code == ExitCode.USAGE
