"""The traces as usage: one call of the sidecar's API after another, in the order of the file."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from bench.failure import BenchError

REQUESTS: Final = "llm.requests"
INPUT: Final = "llm.input_tokens"
OUTPUT: Final = "llm.output_tokens"
CALLS: Final = "api.calls"
BYTES: Final = "egress.bytes"
TRACE_TIME: Final = "trace_time"
"""The dimension that holds when it happened, as the file has it: the event's time is now."""

_CUSTOMERS: Final = 25
_AZURE_HEAD: Final = "TIMESTAMP,ContextTokens,GeneratedTokens"
_NASA_HEAD: Final = "host\tlogname\ttime\tmethod\turl\tresponse\tbytes\treferer\tuseragent"


class Method(Enum):
    """Which call records the usage."""

    CONSUME = "Consume"
    REPORT = "Report"


class Usage(NamedTuple):
    """One call."""

    method: Method
    customer: str
    feature: str
    amount: int
    key: str
    """Idempotency key: of the row and the feature, since one row is several calls."""
    dimensions: dict[str, str]


class Trace(NamedTuple):
    """A trace: its file, and how its lines become usage."""

    name: str
    file_name: str
    read: Callable[[str, Iterable[str]], Iterator[Usage]]

    def usage(self, directory: Path) -> Iterator[Usage]:
        """Read the file in a directory. Raises BenchError where it is not what it should be."""
        return self.read(self.name, lines_of(directory / self.file_name))


def lines_of(path: Path) -> Iterator[str]:
    """Yield the lines of a gzip file, without their ends."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line.rstrip("\r\n")
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error}") from error


def customer_of(dataset: str, key: str) -> int:
    """Return one of 25 customers for a row that names none: few get much, many get little."""
    share = int(sha256(f"{dataset}:{key}".encode()).hexdigest()[:8], 16) / 2**32
    return int(_CUSTOMERS * share * share)


def read_azure(name: str, lines: Iterable[str]) -> Iterator[Usage]:
    """Read an Azure LLM inference trace: a request, its input and its output per row."""
    product = name.removeprefix("azure-").replace("conv", "chat")
    for number, line in _numbered(name, _AZURE_HEAD, lines):
        stamp, context, generated = line.split(",")
        customer = f"{name}-{customer_of(name, str(number))}"
        dimensions = {TRACE_TIME: stamp, "product": product}
        key = f"{name}:{number}"
        yield Usage(Method.CONSUME, customer, REQUESTS, 1, f"{key}/{REQUESTS}", dimensions)
        yield Usage(Method.CONSUME, customer, INPUT, int(context), f"{key}/{INPUT}", dimensions)
        yield Usage(Method.REPORT, customer, OUTPUT, int(generated), f"{key}/{OUTPUT}", dimensions)


def read_nasa(name: str, lines: Iterable[str]) -> Iterator[Usage]:
    """Read the NASA access log: a call and the bytes of its response per row."""
    for number, line in _numbered(name, _NASA_HEAD, lines):
        host, _, stamp, _, _, _, sent, *_ = line.split("\t")
        dimensions = {TRACE_TIME: stamp}
        key = f"{name}:{number}"
        yield Usage(Method.CONSUME, host, CALLS, 1, f"{key}/{CALLS}", dimensions)
        yield Usage(Method.REPORT, host, BYTES, int(sent), f"{key}/{BYTES}", dimensions)


TRACES: Final = (
    Trace("azure-code", "azure_llm_2023_code.csv.gz", read_azure),
    Trace("azure-conv", "azure_llm_2023_conv.csv.gz", read_azure),
    Trace("nasa", "nasa_http_1995-08-01.tsv.gz", read_nasa),
)


def _numbered(name: str, head: str, lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    remaining = iter(lines)
    found = next(remaining, "")
    if found != head:
        raise BenchError(f"{name}: the first line is {found!r} instead of {head!r}")
    return enumerate(remaining, 1)
