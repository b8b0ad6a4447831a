"""Runs h2load against a gRPC method and reads what it measured."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from bench.failure import BenchError

_FINISHED: Final = re.compile(r"^finished in .*, ([\d.]+) req/s", re.MULTILINE)
_REQUESTS: Final = re.compile(
    r"^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", re.MULTILINE
)
_DATA: Final = re.compile(r"\((\d+)\) data$", re.MULTILINE)
_RUN_S_MAX: Final = 300
_PREFIX_BYTES: Final = 5
"""Of a gRPC message: one byte for compression, four for the length."""


class Load(NamedTuple):
    """So many calls, over connections with so many streams at a time each."""

    connections: int
    streams: int
    calls: int


class Target(NamedTuple):
    """A method and the message it is sent."""

    address: str
    service: str
    method: str
    message: bytes


class Measured(NamedTuple):
    """One run."""

    calls_per_s: float
    mean_ms: float
    p99_ms: float
    data_bytes: int
    """Of all responses: what an error answers has none, so this tells answers from errors."""


def require_h2load() -> str:
    """Return the version of h2load. Raises BenchError where it is not installed."""
    for program, package in (("h2load", "nghttp2-client"), ("taskset", "util-linux")):
        if shutil.which(program) is None:
            raise BenchError(
                f"{program} is not installed; it is in Debian's package {package} "
                f"(apt-get install {package})"
            )
    answer = subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def framed(message: bytes) -> bytes:
    """Return a message as it travels in the body of a gRPC call."""
    return b"\0" + len(message).to_bytes(_PREFIX_BYTES - 1, "big") + message


def framed_bytes(message_bytes: int) -> int:
    """Return how long a message of a length is as it travels."""
    return _PREFIX_BYTES + message_bytes


def run(target: Target, load: Load, core: int, directory: Path) -> Measured:
    """Put a load on a method. Raises BenchError where not every call was answered."""
    body, log = directory / "body", directory / "h2load.log"
    body.write_bytes(framed(target.message))
    log.unlink(missing_ok=True)
    command = [
        *("taskset", "-c", str(core), "h2load"),
        *("-n", str(load.calls), "-c", str(load.connections), "-m", str(load.streams)),
        *("-H", "content-type: application/grpc", "-H", "te: trailers"),
        *("-d", str(body), f"--log-file={log}"),
        f"http://{target.address}/{target.service}/{target.method}",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_RUN_S_MAX, cwd=directory
    )
    if done.returncode:
        raise BenchError(f"h2load ended with {done.returncode}: {done.stderr.strip()}")
    calls_per_s, data_bytes = read_output(done.stdout, load.calls)
    latencies_ms = read_log(log.read_text(encoding="ascii"))
    return Measured(
        calls_per_s, statistics.fmean(latencies_ms), quantile(latencies_ms, 0.99), data_bytes
    )


def read_output(output: str, calls: int) -> tuple[float, int]:
    """Return calls per second and the bytes of all responses from what h2load prints."""
    finished, requests, data = (p.search(output) for p in (_FINISHED, _REQUESTS, _DATA))
    if finished is None or requests is None or data is None:
        raise BenchError(f"h2load printed something else than expected:\n{output}")
    succeeded, *others = (int(text) for text in requests.groups())
    if succeeded != calls or any(others):
        raise BenchError(f"of {calls} calls {succeeded} succeeded: {requests.group()}")
    return float(finished[1]), int(data[1])


def read_log(log: str) -> list[float]:
    """Return the milliseconds that each call took, from the lines of h2load's log."""
    return sorted(int(line.split("\t")[2]) / 1000 for line in log.splitlines())


def quantile(ordered: list[float], share: float) -> float:
    """Return the smallest value that so great a share of ordered values does not exceed."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
