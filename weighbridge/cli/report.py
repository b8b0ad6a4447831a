"""`weighbridge report`: record usage that already happened, one or a file of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weighbridge.cli import options, usage_options
from weighbridge.cli.connection import Sidecar, open_sidecar
from weighbridge.cli.decision_view import receipt_table
from weighbridge.cli.exit_codes import UsageError
from weighbridge.cli.instants import INSTANT_HELP, parse_instant
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import print_human, print_json
from weighbridge.cli.progress import track
from weighbridge.cli.report_file import FILE_HELP, read_reports, send_reports
from weighbridge.v1.sidecar_service_pb2 import ReportRequest

app = typer.Typer(add_completion=False)


@app.command()
def report(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id")] = "",
    feature: Annotated[str, typer.Argument(metavar="FEATURE", help="The feature's id")] = "",
    *,
    amount: usage_options.AmountOption = None,
    at: Annotated[str, typer.Option("--at", metavar="INSTANT", help=f"When: {INSTANT_HELP}")] = "",
    key: usage_options.KeyOption = "",
    scope: usage_options.ScopeOption = usage_options.Scope.SIDECAR,
    dimension: usage_options.DimensionOption = None,
    resource: options.ResourceOption = "",
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help=FILE_HELP)] = None,
    key_prefix: Annotated[
        str,
        typer.Option(
            "--key-prefix",
            metavar="TEXT",
            help="With --file: lines without a key get TEXT:LINE, so that the file can be resent",
        ),
    ] = "",
    sidecar: options.SidecarOption = options.DEFAULT_SIDECAR,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Record usage that already happened; never refused for a limit."""
    if file is not None:
        if customer or feature:
            raise UsageError("CUSTOMER and FEATURE come from the file")
        with open_sidecar(sidecar, timeout_s) as peer:
            _report_file(peer, file, key_prefix, as_json=as_json)
        return
    if not customer or not feature:
        raise UsageError("name CUSTOMER and FEATURE, or a --file")
    request = ReportRequest(
        customer=customer,
        resource=resource,
        feature=feature,
        amount=amount,
        idempotency_key=key,
        idempotency_scope=usage_options.SCOPE_TO_PROTO[scope],
        dimensions=usage_options.parse_dimensions(dimension),
        occurred_at_unix_ms=parse_instant(at) if at else None,
    )
    with open_sidecar(sidecar, timeout_s) as peer:
        response = peer.call(peer.service.Report, request)
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(receipt_table(response.receipt, replayed=response.replayed))


def _report_file(peer: Sidecar, file: Path, key_prefix: str, *, as_json: bool) -> None:
    requests = read_reports(file, key_prefix)
    with track("reporting", len(requests), shown=not as_json) as advance:
        sent = send_reports(peer, requests, advance)
    if as_json:
        print_json({"lines": sent.lines, "replayed": sent.replayed, "amount": sent.amount})
    else:
        replayed = f", {sent.replayed:,} of them before" if sent.replayed else ""
        print_human(f"{sent.lines:,} lines recorded{replayed}; {sent.amount:,} units")
