"""`weighbridge up` as a process, and commands run against it."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from weighbridge.cli.root import run

START_S = 60.0
STOP_S = 60.0
SETTLE_S = 20.0
PORTS = ("sidecar", "sidecar-probe", "control-plane", "control-plane-probe")
CATALOG = """catalog: {catalog}
features:
  api.calls: {{type: metered, unit: call}}
  exports: {{type: boolean}}
  seats: {{type: number, unit: seat}}
  models: {{type: enum, values: [small, large]}}
plans:
  free:
    features:
      api.calls: {{limits: [{{limit: {limit}, window: month}}]}}
      seats: 1
      models: [small]
    upgrades_to: [pro]
  pro:
    features:
      api.calls: {{limits: [{{limit: 1000000, kind: soft, window: month}}]}}
      exports: true
      seats: 5
      models: [small, large]
    offer: {{message: Pro has a million calls., url: "https://example.com/pro"}}
add_ons:
  seat:
    plans: [pro]
    features: {{seats: 1}}
"""


class Up(NamedTuple):
    """A `weighbridge up` that is ready."""

    process: subprocess.Popen[bytes]
    addresses: dict[str, Any]


class Outcome(NamedTuple):
    """How one command ended."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out, self.err
        return json.loads(self.out)


class CommandLine:
    """Runs commands in this process and keeps what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Outcome:
        self._capsys.readouterr()
        exit_code = run(arguments)
        return Outcome(exit_code, *self._capsys.readouterr())

    def make_customer(self, customer: str, plan: str = "free") -> None:
        """Make a customer of the catalog `shop` and wait until the sidecar has it."""
        made = self("customer", "create", customer, "--catalog", "shop", "--plan", plan)
        assert made.exit_code == 0, made.err
        self.wait_for_plan(customer, plan)

    def wait_for_plan(self, customer: str, plan: str) -> None:
        """Wait until the sidecar has the customer on the plan."""
        wait_until(
            lambda: self("entitlements", customer, "--json").json["entitlements"]["plan"] == plan
        )

    def wait_until_allowed(
        self, customer: str, feature: str, amount: int | None, *arguments: str
    ) -> None:
        """Wait until the sidecar allows it."""
        ask = ("check", customer, feature, *arguments)
        if amount is not None:
            ask = (*ask, "--amount", str(amount))
        wait_until(lambda: self(*ask).exit_code == 0)

    def wait_until_refused(self, customer: str, feature: str, reason: str) -> None:
        """Wait until the sidecar refuses it for that reason."""
        ask = ("check", customer, feature, "--json")
        wait_until(lambda: self(*ask).json["decision"]["reason"] == reason)

    def wait_for_usage(self, customer: str, amount: int) -> None:
        """Wait until the control plane has settled that many units."""
        wait_until(lambda: self.settled(customer) == amount)

    def settled(self, customer: str) -> int:
        """Return the units that the control plane has settled of a customer."""
        rows = self("usage", "--customer", customer, "--json").json["rows"]
        return sum(row["amount"] for row in rows)


def catalog_text(limit: int = 10, catalog: str = "shop") -> str:
    return CATALOG.format(limit=limit, catalog=catalog)


def start_up(data_dir: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "weighbridge.cli", "up", f"--data-dir={data_dir}"]
    ports = [f"--{name}-port=0" for name in PORTS]
    return subprocess.Popen(
        [*command, *ports, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # What `first_line` reads ahead would be lost to `communicate`.
        bufsize=0,
    )


def first_line(process: subprocess.Popen[bytes]) -> bytes:
    """Return the first line on stdout; empty where the process ends without one."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        assert selector.select(START_S), "nothing was printed in time"
    return process.stdout.readline()


def end(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Stop `up`; return its exit code and what it wrote to stderr."""
    if process.poll() is None:
        process.terminate()
    try:
        _, err = process.communicate(timeout=STOP_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    return process.returncode, err.decode()


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, at most SETTLE_S."""
    deadline_s = time.monotonic() + SETTLE_S
    while not is_so():
        assert time.monotonic() < deadline_s, "it did not come about in time"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
