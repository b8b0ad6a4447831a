"""The processes of the tour: `weighbridge up` with the example catalogs, and the application."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from tour_steps import MODELS

HERE: Final = Path(__file__).parent
START_S: Final = 150.0
CLIENT_S: Final = 60.0
STOP_S: Final = 60.0
PORTS: Final = ("sidecar", "sidecar-probe", "control-plane", "control-plane-probe")


class TourError(Exception):
    """The tour cannot go on. The message says why."""


class Running(NamedTuple):
    """A `weighbridge up` and where it listens."""

    process: subprocess.Popen[bytes]
    addresses: dict[str, Any]


@contextmanager
def weighbridge_up(directory: Path, settings: Mapping[str, str]) -> Iterator[Running]:
    """Run both processes on free ports, every example catalog applied, until the block ends."""
    command = [
        *(sys.executable, "-m", "weighbridge.cli", "up", "--json", f"--data-dir={directory}"),
        *(f"--{name}-port=0" for name in PORTS),
        *(f"--catalog={HERE / 'catalogs' / name}.yaml" for _, name, _ in MODELS),
    ]
    # A session of its own: Ctrl-C reaches the tour alone, which then stops it once.
    with subprocess.Popen(
        command,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            line = next(lines_of(process, START_S), None)
            if line is None:
                raise TourError("weighbridge up did not start")
            yield Running(process, json.loads(line))
        finally:
            stop(process)


def run_application(sidecar: str, part: str) -> list[dict[str, Any]]:
    """Run one part of the steps in a process that knows only the sidecar's address."""
    with running_application(sidecar, part) as outcomes:
        return list(outcomes)


@contextmanager
def running_application(sidecar: str, part: str) -> Iterator[Iterator[dict[str, Any]]]:
    """Run one part of the steps; each outcome as it comes."""
    command = [sys.executable, str(HERE / "tour_client.py"), sidecar, part]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            yield (json.loads(line) for line in lines_of(process, CLIENT_S))
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
        finally:
            stop(process)
    if process.returncode:
        raise TourError(f"the application ended with exit code {process.returncode}")


def lines_of(process: subprocess.Popen[bytes], within_s: float) -> Iterator[bytes]:
    """Yield what a process prints, line by line, until it ends. Raises TourError out of time."""
    assert process.stdout is not None
    output = process.stdout.fileno()
    deadline_s = time.monotonic() + within_s
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while selector.select(max(deadline_s - time.monotonic(), 0)):
            chunk = os.read(output, 1 << 16)
            if not chunk:
                return
            *lines, pending = (pending + chunk).split(b"\n")
            yield from lines
    raise TourError(f"{words(process.args)} was not done within {within_s:g} s")


def words(command: Any) -> str:
    """Return the program and what it was asked, without its options."""
    return " ".join(Path(word).name for word in command if not word.startswith("-"))


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and see that it does."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def program() -> str:
    """Return how to call the `weighbridge` command of this installation."""
    path = Path(sys.executable).with_name("weighbridge")
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
