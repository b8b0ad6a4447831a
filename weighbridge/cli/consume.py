"""`weighbridge consume`: check and record usage in one step."""

from __future__ import annotations

import typer

from weighbridge.cli import options, usage_options
from weighbridge.cli.connection import open_sidecar
from weighbridge.cli.decision_view import decision_table, receipt_table
from weighbridge.cli.exit_codes import CommandNoError
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import print_human, print_json
from weighbridge.v1.sidecar_service_pb2 import ConsumeRequest

app = typer.Typer(add_completion=False)


@app.command()
def consume(
    customer: options.CustomerArgument,
    feature: options.FeatureArgument,
    *,
    amount: usage_options.AmountOption = None,
    key: usage_options.KeyOption = "",
    scope: usage_options.ScopeOption = usage_options.Scope.SIDECAR,
    dimension: usage_options.DimensionOption = None,
    resource: options.ResourceOption = "",
    sidecar: options.SidecarOption = options.DEFAULT_SIDECAR,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Check and record usage in one atomic step. Exit code 1: refused, nothing was recorded."""
    request = ConsumeRequest(
        customer=customer,
        resource=resource,
        feature=feature,
        amount=amount,
        idempotency_key=key,
        idempotency_scope=usage_options.SCOPE_TO_PROTO[scope],
        dimensions=usage_options.parse_dimensions(dimension),
    )
    with open_sidecar(sidecar, timeout_s) as peer:
        response = peer.call(peer.service.Consume, request)
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(decision_table(response.decision))
        if response.HasField("receipt"):
            print_human(receipt_table(response.receipt, replayed=response.replayed))
    if not response.decision.allowed:
        raise CommandNoError
