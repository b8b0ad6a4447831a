"""The tour of `make run`: both processes on SQLite, the six example catalogs, and an application.

Starts `weighbridge up` in a directory of its own, makes customers through the admin service, lets
`tour_client.py` ask the sidecar, changes a plan while it asks, and looks into the control plane for
what was used. `--once` ends after the tour; the exit code is 1 where something was not as expected.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from tour_admin import ControlPlane, Usage
from tour_billing import BILLED, billing_rows, exports_file, use
from tour_change import change_plan
from tour_drain import drain_balance
from tour_processes import Running, TourError, program, run_application, weighbridge_up
from tour_steps import (
    DRAINED,
    FIRST_STEPS,
    STEPS_AFTER_UPGRADE,
    STEPS_AROUND_CHANGE,
    SUBSCRIBERS,
    UPGRADED,
)
from tour_table import Row, print_tables, rows_of

VISIBLE_WITHIN_MS: Final = 1000
PIPE_WIDTH: Final = 160
STEPS: Final = (*FIRST_STEPS, *STEPS_AFTER_UPGRADE, *STEPS_AROUND_CHANGE)


def main() -> int:
    """Give the tour and return the exit code."""
    parser = argparse.ArgumentParser(description="A tour of Weighbridge on SQLite.")
    parser.add_argument("--once", action="store_true", help="end after the tour")
    only_once = parser.parse_args().once
    # A tour that is told to stop stops what it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    unexpected = 1
    try:
        with tempfile.TemporaryDirectory(prefix="weighbridge-tour-") as directory:
            console.print("Starting a control plane and a sidecar on SQLite ...", style="dim")
            exports = exports_file(Path(directory))
            settings = {"WEIGHBRIDGE_CONTROL_PLANE_EXPORTS_FILE": str(exports)}
            with weighbridge_up(Path(directory), settings) as running:
                unexpected = give_tour(console, running.addresses)
                if not only_once:
                    serve(console, running)
    except KeyboardInterrupt:
        console.print("\nStopped.")
        return int(only_once or unexpected > 0)
    except TourError as error:
        Console(stderr=True).print(f"error: {error}", markup=False)
        return 1
    return int(unexpected > 0)


def give_tour(console: Console, addresses: dict[str, Any]) -> int:
    """Do all steps, print the table, and return how many were not as expected."""
    sidecar = addresses["sidecar"]
    token_file = Path(addresses["admin_token_file"])
    with ControlPlane(addresses["control_plane"], token_file) as control_plane:
        for subscriber in (*SUBSCRIBERS, DRAINED, *(each.subscriber for each in BILLED)):
            control_plane.create(subscriber)
        first = run_application(sidecar, "first")
        control_plane.subscribe(UPGRADED)
        upgraded = run_application(sidecar, "upgraded")
        drained = drain_balance(control_plane, addresses)
        billed = use(sidecar)
        changed = change_plan(control_plane, sidecar)
        usage = usage_row(control_plane, drained.used + billed, changed.used_until_s)
        rows = [
            *rows_of(SUBSCRIBERS, FIRST_STEPS, first),
            *rows_of([UPGRADED], STEPS_AFTER_UPGRADE, upgraded),
            *drained.rows,
            *changed.rows,
            usage,
            *billing_rows(control_plane, Path(addresses["data_dir"])),
        ]
    print_tables(console, rows)
    unexpected = sum(not row.is_ok for row in rows)
    style = "bold red" if unexpected else "bold green"
    console.print(f"{len(rows) - unexpected} of {len(rows)} as expected.", style=style)
    return unexpected


def usage_row(control_plane: ControlPlane, used_beside: Usage, used_until_s: float) -> Row:
    """Compare what the control plane has settled with what the application used."""
    expected = used_beside.copy()
    for step in STEPS:
        if step.recorded:
            expected[step.customer, step.feature] += step.recorded
    seen = control_plane.wait_for_usage(expected)
    took_ms = round((time.monotonic() - used_until_s) * 1000)
    if seen == expected:
        got = f"after {took_ms} ms"
    else:
        wrong = sorted({*expected.items()} ^ {*seen.items()})
        got = f"differs after {took_ms} ms: {wrong}"
    return Row(
        title="control plane: usage of all customers, settled",
        what=f"{expected.total():,} units in {len(expected)} sums",
        expected="within a second",
        got=got,
        is_ok=seen == expected and took_ms <= VISIBLE_WITHIN_MS,
    )


def serve(console: Console, running: Running) -> None:
    """Say how to try things, and wait for Ctrl-C."""
    addresses = running.addresses
    console.print(
        f"""
It keeps running. In another terminal:

  export WEIGHBRIDGE_SIDECAR={addresses["sidecar"]}
  export WEIGHBRIDGE_CONTROL_PLANE={addresses["control_plane"]}
  export WEIGHBRIDGE_ADMIN_TOKEN_FILE={addresses["admin_token_file"]}

  {program()} entitlements maps-trial
  {program()} watch login-app
  {program()} consume login-app users.monthly --amount 10
  {program()} subscription set maps-trial pay_as_you_go
  {program()} consume maps-trial geocoding.requests
  {program()} usage --group-by customer --group-by feature
  {program()} catalog show hybrid
  {program()} doctor --data-dir {addresses["data_dir"]}

Ctrl-C stops it and removes its data.""",
        markup=False,
        soft_wrap=True,
    )
    if running.process.wait():
        raise TourError("weighbridge up ended by itself")


if __name__ == "__main__":
    sys.exit(main())
