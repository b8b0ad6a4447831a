"""The tour's shared balance: four applications, each beside a sidecar of its own, spend one grant.

Three more sidecars join the one of `weighbridge up`. Nobody coordinates the applications; each
consumes until its own sidecar says that there are no credits left.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from tour_admin import ControlPlane, Usage
from tour_processes import START_S, TourError, stop
from tour_steps import DRAINED, Subscriber
from tour_table import TITLE_OF_CATALOG, Row

from weighbridge import SyncClient

FEATURE: Final = "llm.output_tokens"
DIMENSIONS: Final = {"model": "gpt-4"}
TOKENS_A_CALL: Final = 5_000
CREDITS_A_CALL: Final = 0.3
CALLS: Final = 100
CREDITS: Final = 30
MORE_SIDECARS: Final = 3
SETTLE_S: Final = 15.0
POLL_S: Final = 0.02


class Drained(NamedTuple):
    """What came of it, and the units that were used by (customer, feature)."""

    rows: list[Row]
    used: Usage


def drain_balance(control_plane: ControlPlane, addresses: dict[str, Any]) -> Drained:
    """Grant credits, have four applications spend them at once, and look at the balance."""
    control_plane.grant(DRAINED.customer, "tour", CREDITS)
    with ExitStack() as stack:
        more = [
            stack.enter_context(started_sidecar(addresses, f"sidecar-{index}"))
            for index in range(2, 2 + MORE_SIDECARS)
        ]
        wait_ready(more)
        apis = [addresses["sidecar"], *(each.address for each in more)]
        with ThreadPoolExecutor(len(apis)) as applications:
            spent = list(applications.map(spend, apis))
        balance = wait_until_settled(control_plane)
    calls = [each.calls for each in spent]
    reasons = sorted({each.reason for each in spent})
    title = f"{_title(DRAINED)}, one balance and four sidecars at once"
    each_call = f"{TOKENS_A_CALL:,} gpt-4 output tokens"
    rows = [
        Row(
            title=title,
            what=f"consume {each_call} again and again ({CREDITS_A_CALL} credits)",
            expected=f"{CALLS} calls, then CREDITS_EXHAUSTED",
            got=f"{sum(calls)} calls ({'+'.join(map(str, calls))}), then {', '.join(reasons)}",
            is_ok=sum(calls) == CALLS and reasons == ["CREDITS_EXHAUSTED"],
        ),
        Row(
            title=title,
            what=f"ledger balance {DRAINED.customer}",
            expected=_balance_text(0, 0, CREDITS),
            got=_balance_text(*balance),
            is_ok=balance == (0, 0, CREDITS),
        ),
    ]
    return Drained(rows, Counter({(DRAINED.customer, FEATURE): sum(calls) * TOKENS_A_CALL}))


def _title(subscriber: Subscriber) -> str:
    model = TITLE_OF_CATALOG[subscriber.catalog]
    return f"{model}: {subscriber.customer} on {subscriber.plan}"


def _balance_text(available: float, reserved: float, settled: float) -> str:
    return f"{available:g} available, {reserved:g} reserved, {settled:g} settled"


class Sidecar(NamedTuple):
    """A sidecar that the tour started."""

    process: subprocess.Popen[bytes]
    address: str
    probe_address: str


@contextmanager
def started_sidecar(addresses: dict[str, Any], name: str) -> Iterator[Sidecar]:
    """Run one more sidecar on free ports until the block ends."""
    address, probe_address = free_addresses()
    directory = Path(addresses["data_dir"])
    settings = {
        "DATA_DIR": str(directory / name),
        "LISTEN": address,
        "PROBE_LISTEN": probe_address,
        "CONTROL_PLANE": addresses["control_plane"],
        "TOKEN_FILE": addresses["sync_token_file"],
    }
    environment = {f"WEIGHBRIDGE_SIDECAR_{key}": value for key, value in settings.items()}
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sidecar"],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield Sidecar(process, address, probe_address)
    finally:
        stop(process)


def free_addresses() -> tuple[str, str]:
    """Return two loopback addresses that nobody listens on."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return (
            f"127.0.0.1:{one.getsockname()[1]}",
            f"127.0.0.1:{other.getsockname()[1]}",
        )


def wait_ready(sidecars: Sequence[Sidecar]) -> None:
    """Return when each has its first snapshots. Raises TourError for one that ends or is late."""
    deadline_s = time.monotonic() + START_S
    for sidecar in sidecars:
        while not is_ready(sidecar.probe_address):
            if sidecar.process.poll() is not None or time.monotonic() > deadline_s:
                raise TourError(f"the sidecar on {sidecar.address} did not start")
            time.sleep(POLL_S)


def is_ready(probe_address: str) -> bool:
    """Return whether /readyz says so."""
    connection = http.client.HTTPConnection(probe_address, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except ConnectionError:
        return False
    finally:
        connection.close()


class Spent(NamedTuple):
    """What one application was allowed, and why it ended."""

    calls: int
    reason: str


def spend(address: str) -> Spent:
    """Consume until the sidecar refuses."""
    calls = 0
    with SyncClient(address) as client:
        while True:
            answer = client.consume(DRAINED.customer, FEATURE, TOKENS_A_CALL, dimensions=DIMENSIONS)
            reason = answer.decision.reason
            if not answer.decision.allowed:
                return Spent(calls, reason.name if reason else "")
            calls += 1


def wait_until_settled(control_plane: ControlPlane) -> tuple[float, float, float]:
    """Return available, reserved and settled credits: all settled, or what was there last."""
    deadline_s = time.monotonic() + SETTLE_S
    while True:
        balance = control_plane.balance(DRAINED.customer)
        if balance[-1] == CREDITS or time.monotonic() > deadline_s:
            return balance
        time.sleep(POLL_S)
