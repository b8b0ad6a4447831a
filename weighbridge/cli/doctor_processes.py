"""What `weighbridge doctor` asks the two processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Final

import grpc

from weighbridge.cli.connection import ControlPlane, Sidecar
from weighbridge.cli.doctor_findings import Finding, fail, ok, warn
from weighbridge.cli.exit_codes import CommandError, ExitCode
from weighbridge.cli.json_shapes import enum_label
from weighbridge.cli.probe import ask, in_the_way, info_of, metrics_of
from weighbridge.runtime.clock import wall_ms
from weighbridge.v1.admin_service_pb2 import ConnectedSidecar, ListSidecarsRequest
from weighbridge.v1.sync_service_pb2 import SubscriptionMode

# The probe's clock has whole seconds, and the answer took a while.
_CLOCK_SKEW_S_MAX: Final = 3.0
_PREFIX: Final = "weighbridge_sidecar_"
_START: Final = "start it: weighbridge up; or name its address"
_ADVICE: Final = {
    ExitCode.UNAUTHENTICATED: "use the admin token of this control plane: --token-file",
    ExitCode.UNAVAILABLE: f"{_START} with --control-plane",
}


@dataclass(frozen=True, slots=True)
class Targets:
    """Where both processes are."""

    control_plane: str
    control_plane_probes: str
    token_file: Path
    sidecar: str
    sidecar_probes: str
    timeout_s: float


def process_findings(targets: Targets) -> Iterator[Finding]:
    """Yield what both processes answer."""
    yield from _control_plane_findings(targets)
    yield from _sidecar_findings(targets)


def _control_plane_findings(targets: Targets) -> Iterator[Finding]:
    yield _ready("control plane ready", targets.control_plane_probes, targets.timeout_s)
    try:
        control_plane = ControlPlane(targets.control_plane, targets.token_file, targets.timeout_s)
        with control_plane.channel:
            response = control_plane.call(control_plane.admin.ListSidecars, ListSidecarsRequest())
    except CommandError as error:
        advice = _ADVICE.get(error.exit_code, "")
        yield fail("control plane", error.message, advice)
        return
    yield ok("control plane", f"{targets.control_plane} answers, and takes the token")
    yield from _connected_findings(list(response.sidecars))


def _connected_findings(sidecars: list[ConnectedSidecar]) -> Iterator[Finding]:
    if not sidecars:
        yield fail(
            "sidecars connected",
            "none",
            "see the sidecar's log; its control plane address and sync token must be of this one",
        )
        return
    names = [
        f"{sidecar.sidecar_id} ({sidecar.software_version}, "
        f"{(enum_label(SubscriptionMode.DESCRIPTOR, sidecar.mode) or '').lower()}, "
        f"{sidecar.customers:,} customers)"
        for sidecar in sidecars
    ]
    yield ok("sidecars connected", "; ".join(names))
    for sidecar in sidecars:
        for nack in sidecar.nacks:
            subject = nack.catalog or nack.customer
            yield fail(
                "snapshots applied",
                f"{sidecar.sidecar_id} could not apply {subject} version {nack.version}: "
                f"{nack.detail}",
                "update the sidecar, or apply the catalog without what it does not know",
            )


def _sidecar_findings(targets: Targets) -> Iterator[Finding]:
    yield _ready("sidecar ready", targets.sidecar_probes, targets.timeout_s)
    yield _sidecar_reachable(targets)
    try:
        answer = ask(targets.sidecar_probes, "/metrics", targets.timeout_s)
    except (OSError, HTTPException):
        return  # "sidecar ready" has said so
    yield _clock(answer.answered_at_unix_s)
    transport = info_of(answer.text, f"{_PREFIX}info").get("transport", "")
    yield ok("transport", transport) if transport else warn("transport", "not told", "update it")
    yield from _metrics_findings(metrics_of(answer.text))


def _sidecar_reachable(targets: Targets) -> Finding:
    check = "sidecar"
    try:
        sidecar = Sidecar(targets.sidecar, targets.timeout_s)
    except CommandError as error:
        return fail(check, error.message, "write HOST:PORT or unix:PATH")
    with sidecar.channel:
        try:
            grpc.channel_ready_future(sidecar.channel).result(timeout=targets.timeout_s)
        except grpc.FutureTimeoutError:
            return fail(check, f"{sidecar.address} does not answer", f"{_START} with --sidecar")
    return ok(check, f"{sidecar.address} answers")


def _ready(check: str, address: str, timeout_s: float) -> Finding:
    why = in_the_way(address, timeout_s)
    if not why:
        return ok(check, f"http://{address}/readyz says so")
    return fail(check, why, "see the log of the process, or name its probe address")


def _clock(answered_at_unix_s: float | None) -> Finding:
    check = "wall clocks"
    if answered_at_unix_s is None:
        return warn(check, "the sidecar's probe tells no time", "update the sidecar")
    skew_s = wall_ms() / 1000 - answered_at_unix_s
    if abs(skew_s) > _CLOCK_SKEW_S_MAX:
        return warn(
            check,
            f"this machine and the sidecar's are {abs(skew_s):.0f} s apart",
            "nothing is decided by them, but times you type and logs will not match: use NTP",
        )
    return ok(check, "this machine and the sidecar's agree")


def _metrics_findings(samples: dict[str, float]) -> Iterator[Finding]:
    def sample(name: str) -> float:
        return samples.get(_PREFIX + name, 0.0)

    if sample("connected"):
        yield ok("snapshots current", f"confirmed {sample('snapshot_age_seconds'):.1f} s ago")
    else:
        effect = "outage policies decide" if sample("outage") else "the last snapshot decides"
        yield fail(
            "snapshots current",
            f"the sidecar has no connection to its control plane; {effect}",
            "see its log; usage is kept until it is back",
        )
    yield ok("usage on its way", f"{sample('journal_unsettled_records'):,.0f} records")
    for name, seen, advice in (
        (
            "journal_problems",
            "corrupt parts of the journal were set aside",
            "see the sidecar's log",
        ),
        ("snapshots_nacked_total", "snapshots could not be applied", "see the sidecar's log"),
        (
            "usage_records_set_aside_total",
            "usage records were refused by the control plane",
            "was the data directory copied? see the logs of both",
        ),
    ):
        if sample(name):
            yield warn("sidecar", f"{sample(name):,.0f} {seen}", advice)
