"""The machine that a result belongs to, in one line, and tables in a README."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

from bench.failure import BenchError


def describe_machine(*more: str) -> str:
    """Return date, cores, CPU and versions."""
    parts = (
        time.strftime("%Y-%m-%d", time.gmtime()),
        f"{os.cpu_count()} cores of {_cpu_model()}",
        f"{platform.system()} {platform.release().split('-')[0]}",
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in ("grpcio", "protobuf")),
        *more,
    )
    return ", ".join(parts)


def with_section(text: str, name: str, content: str) -> str:
    """Return a text with new content between the markers of that name.

    Raises BenchError where the markers are not there.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise BenchError(f"the text has no markers {begin} and {end}")
    return f"{before}{begin}\n\n{content.strip()}\n\n{end}{after}"


def write_section(path: Path, name: str, content: str) -> None:
    """Put new content between the markers of a file."""
    path.write_text(with_section(path.read_text(encoding="utf-8"), name, content), encoding="utf-8")


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; every column but the first is aligned right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()
