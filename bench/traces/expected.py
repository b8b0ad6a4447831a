"""What the control plane must have at the end, worked out from the files by another way.

Whole columns are summed with the csv module; nothing here knows of calls, keys or the order in
which they were sent. `PUBLISHED` are figures published with the traces, so that a mistake both
ways make is found too.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from bench.administration import Total
from bench.traces.reading import (
    BYTES,
    CALLS,
    INPUT,
    OUTPUT,
    REQUESTS,
    Trace,
    customer_of,
    lines_of,
)

Key = tuple[str, str]


class Published(NamedTuple):
    """Sums that are known beforehand: by feature, by customer, and of the biggest customers."""

    sums: Mapping[str, int]
    of_customers: Mapping[Key, int]
    customers: int
    biggest_feature: str = ""
    biggest: tuple[int, ...] = ()


def _of_azure(name: str, rows: Mapping[int, tuple[int, int, int]]) -> dict[Key, int]:
    return {
        (f"{name}-{number}", feature): amount
        for number, amounts in rows.items()
        for feature, amount in zip((REQUESTS, INPUT, OUTPUT), amounts, strict=True)
    }


PUBLISHED: Final[Mapping[str, Published]] = {
    "azure-code": Published(
        {REQUESTS: 8_819, INPUT: 18_059_974, OUTPUT: 245_896},
        _of_azure(
            "azure-code",
            {
                0: (1_741, 3_588_954, 54_269),
                1: (706, 1_401_497, 16_966),
                24: (160, 326_148, 5_238),
            },
        ),
        25,
    ),
    "azure-conv": Published(
        {REQUESTS: 19_366, INPUT: 22_361_870, OUTPUT: 4_088_665},
        _of_azure(
            "azure-conv",
            {
                0: (3_876, 4_531_504, 815_581),
                1: (1_598, 1_938_504, 338_955),
                24: (413, 493_040, 86_121),
            },
        ),
        25,
    ),
    "nasa": Published({CALLS: 30_969, BYTES: 482_000_467}, {}, 2_365, CALLS, (364, 338, 301, 224)),
}


def expected_totals(trace: Trace, directory: Path) -> dict[Key, Total]:
    """Return the totals by customer and feature that a trace comes to."""
    lines = lines_of(directory / trace.file_name)
    amounts: Counter[Key] = Counter()
    calls: Counter[Key] = Counter()
    columns = _nasa_columns(lines) if trace.name == "nasa" else _azure_columns(trace.name, lines)
    for customer, feature, amount in columns:
        amounts[customer, feature] += amount
        calls[customer, feature] += 1
    return {key: Total(amounts[key], count) for key, count in calls.items()}


def _azure_columns(name: str, lines: Iterable[str]) -> Iterator[tuple[str, str, int]]:
    for number, row in enumerate(csv.DictReader(lines), 1):
        customer = f"{name}-{customer_of(name, str(number))}"
        yield customer, REQUESTS, 1
        yield customer, INPUT, int(row["ContextTokens"])
        yield customer, OUTPUT, int(row["GeneratedTokens"])


def _nasa_columns(lines: Iterable[str]) -> Iterator[tuple[str, str, int]]:
    for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
        yield row["host"], CALLS, 1
        yield row["host"], BYTES, int(row["bytes"])


def differences(expected: Mapping[Key, Total], found: Mapping[Key, Total]) -> list[str]:
    """Return a line for each customer and feature whose amount or calls are not as expected."""
    return [
        f"{customer} {feature}: {found.get((customer, feature))} instead of "
        f"{expected.get((customer, feature))}"
        for customer, feature in sorted(expected.keys() | found.keys())
        if expected.get((customer, feature)) != found.get((customer, feature))
    ]


def published_differences(published: Published, found: Mapping[Key, Total]) -> list[str]:
    """Return a line for each published figure that the totals of that trace do not have."""
    sums: Counter[str] = Counter()
    for (_, feature), total in found.items():
        sums[feature] += total.amount
    customers = len({customer for customer, _ in found})
    biggest = sorted(
        (total.amount for key, total in found.items() if key[1] == published.biggest_feature),
        reverse=True,
    )[: len(published.biggest)]
    pairs = [
        ("sums", dict(published.sums), dict(sums)),
        ("customers", published.customers, customers),
        ("biggest", list(published.biggest), biggest),
        *(
            (" ".join(key), amount, found[key].amount if key in found else None)
            for key, amount in published.of_customers.items()
        ),
    ]
    return [
        f"{what}: {value} instead of the published {known}"
        for what, known, value in pairs
        if known != value
    ]
