"""The traces as usage, and the totals worked out by another way."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from bench.administration import Total
from bench.failure import BenchError
from bench.traces.expected import (
    Key,
    Published,
    differences,
    expected_totals,
    published_differences,
)
from bench.traces.reading import TRACES, Method, Trace, Usage, customer_of

AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:17:03.9799600,4808,10\r\n"
    "2023-11-16 18:17:04.0319600,3180,8\r\n"
    "2023-11-16 18:17:04.0781490,110,27"
)
NASA = (
    "host\tlogname\ttime\tmethod\turl\tresponse\tbytes\treferer\tuseragent\n"
    'cust-a\t-\t807256800\tGET\t/images/"quoted.gif\t200\t1713\t\t\n'
    "cust-b\t-\t807256804\tGET\t/shuttle/\t304\t0\t\t\n"
    "cust-a\t-\t807256806\tHEAD\t/\t200\t100\t\t\n"
)


def trace_named(name: str) -> Trace:
    return next(trace for trace in TRACES if trace.name == name)


def write(directory: Path, name: str, text: str) -> Trace:
    trace = trace_named(name)
    with gzip.open(directory / trace.file_name, "wt", encoding="utf-8", newline="") as file:
        file.write(text)
    return trace


def summed(usage: Iterable[Usage]) -> dict[Key, Total]:
    amounts: Counter[Key] = Counter()
    calls: Counter[Key] = Counter()
    for one in usage:
        amounts[one.customer, one.feature] += one.amount
        calls[one.customer, one.feature] += 1
    return {key: Total(amounts[key], calls[key]) for key in calls}


def test_an_azure_row_is_three_calls_of_one_customer(tmp_path: Path) -> None:
    trace = write(tmp_path, "azure-conv", AZURE)

    usage = list(trace.usage(tmp_path))

    assert len(usage) == 9
    request, context, generated = usage[:3]
    assert request == Usage(
        Method.CONSUME,
        f"azure-conv-{customer_of('azure-conv', '1')}",
        "llm.requests",
        1,
        "azure-conv:1/llm.requests",
        {"trace_time": "2023-11-16 18:17:03.9799600", "product": "chat"},
    )
    assert (context.method, context.feature, context.amount) == (
        Method.CONSUME,
        "llm.input_tokens",
        4808,
    )
    assert (generated.method, generated.feature, generated.amount) == (
        Method.REPORT,
        "llm.output_tokens",
        10,
    )
    assert len({one.customer for one in usage[:3]}) == 1
    assert len({one.key for one in usage}) == 9


def test_a_nasa_row_is_a_call_and_its_bytes(tmp_path: Path) -> None:
    trace = write(tmp_path, "nasa", NASA)

    usage = list(trace.usage(tmp_path))

    assert usage[2:4] == [
        Usage(
            Method.CONSUME,
            "cust-b",
            "api.calls",
            1,
            "nasa:2/api.calls",
            {"trace_time": "807256804"},
        ),
        Usage(
            Method.REPORT,
            "cust-b",
            "egress.bytes",
            0,
            "nasa:2/egress.bytes",
            {"trace_time": "807256804"},
        ),
    ]


@pytest.mark.parametrize(("name", "text"), [("azure-code", AZURE), ("nasa", NASA)])
def test_both_ways_come_to_the_same_totals(tmp_path: Path, name: str, text: str) -> None:
    trace = write(tmp_path, name, text)

    expected = expected_totals(trace, tmp_path)

    assert expected == summed(trace.usage(tmp_path))


def test_nasa_totals(tmp_path: Path) -> None:
    trace = write(tmp_path, "nasa", NASA)

    assert expected_totals(trace, tmp_path) == {
        ("cust-a", "api.calls"): Total(2, 2),
        ("cust-a", "egress.bytes"): Total(1813, 2),
        ("cust-b", "api.calls"): Total(1, 1),
        ("cust-b", "egress.bytes"): Total(0, 1),
    }


def test_customers_are_derived_as_published() -> None:
    # From the published totals: rows per customer of 8,819 rows.
    rows = Counter(customer_of("azure-code", str(number)) for number in range(1, 8_820))

    assert set(rows) == set(range(25))
    assert (rows[0], rows[1], rows[24]) == (1_741, 706, 160)


def test_another_file_is_refused(tmp_path: Path) -> None:
    trace = write(tmp_path, "nasa", AZURE)

    with pytest.raises(BenchError, match="the first line is 'TIMESTAMP"):
        list(trace.usage(tmp_path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"azure_llm_2023_code\.csv\.gz cannot be read"):
        list(trace_named("azure-code").usage(tmp_path))


def test_differences_name_what_is_missing_extra_or_else() -> None:
    expected = {("a", "f"): Total(1, 1), ("b", "f"): Total(2, 1), ("c", "f"): Total(3, 1)}
    found = {("a", "f"): Total(1, 1), ("b", "f"): Total(4, 2), ("d", "f"): Total(1, 1)}

    assert [line.split(":")[0] for line in differences(expected, found)] == ["b f", "c f", "d f"]


def test_published_figures_are_compared() -> None:
    published = Published({"f": 3}, {("a", "f"): 2}, 2, "f", (2, 1))
    right = {("a", "f"): Total(2, 2), ("b", "f"): Total(1, 1)}
    swapped = {("a", "f"): Total(1, 1), ("b", "f"): Total(2, 2)}

    assert published_differences(published, right) == []
    assert published_differences(published, swapped) == ["a f: 1 instead of the published 2"]
    assert len(published_differences(published, {})) == 4
