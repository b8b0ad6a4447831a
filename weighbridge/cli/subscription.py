"""`weighbridge subscription`: puts customers and resources on plans."""

from __future__ import annotations

from typing import Annotated

import typer

from weighbridge.cli import options
from weighbridge.cli.connection import open_control_plane
from weighbridge.cli.customer_view import show_customer
from weighbridge.cli.exit_codes import UsageError
from weighbridge.cli.instants import INSTANT_HELP, parse_instant
from weighbridge.v1.admin_service_pb2 import (
    CancelSubscriptionRequest,
    FollowSubscriptionRequest,
    PinSubscriptionRequest,
    SetSubscriptionRequest,
)
from weighbridge.v1.sync_service_pb2 import SubscribedAddOn

app = typer.Typer(add_completion=False, help="Put customers and their resources on plans.")


@app.command("set")
def set_subscription(
    customer: options.CustomerArgument,
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="The plan's id")],
    *,
    add_on: Annotated[
        list[str] | None,
        typer.Option("--add-on", metavar="ID[=QUANTITY]", help="All add-ons to have; repeatable"),
    ] = None,
    anchor: Annotated[
        str,
        typer.Option(
            "--anchor",
            metavar="INSTANT",
            help=f"Where anniversary windows count from: {INSTANT_HELP}",
        ),
    ] = "",
    version: Annotated[
        int | None,
        typer.Option(
            "--version", metavar="N", help="Keep that version of the plan; else as `pin` says"
        ),
    ] = None,
    resource: options.ResourceOption = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Put a customer or resource on a plan, in place of the plan and add-ons it is on."""
    request = SetSubscriptionRequest(
        customer=customer,
        resource=resource,
        plan=plan,
        plan_version=version,
        add_ons=[_add_on(text) for text in add_on or ()],
        anchor_unix_ms=parse_instant(anchor) if anchor else None,
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.SetSubscription, request)
    show_customer(response.customer, as_json=as_json)


def _add_on(text: str) -> SubscribedAddOn:
    add_on, equals, quantity = text.partition("=")
    if equals and not (quantity.isascii() and quantity.isdigit() and len(quantity) <= 7):  # noqa: PLR2004 - the most that is valid has 7 digits
        raise UsageError(f"--add-on {text}: write ID or ID=QUANTITY, a quantity is 1 to 1000000")
    return SubscribedAddOn(add_on=add_on, quantity=int(quantity) if equals else 1)


@app.command()
def pin(
    customer: options.CustomerArgument,
    version: Annotated[
        int | None,
        typer.Argument(metavar="[VERSION]", help="The plan's version; else the one it is on"),
    ] = None,
    *,
    resource: options.ResourceOption = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Have a subscription keep a version of its plan, whatever the catalog changes."""
    request = PinSubscriptionRequest(customer=customer, resource=resource, plan_version=version)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.PinSubscription, request)
    show_customer(response.customer, as_json=as_json)


@app.command()
def follow(
    customer: options.CustomerArgument,
    *,
    resource: options.ResourceOption = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Move a subscription to its plan's current version now, to follow the plan from then on."""
    request = FollowSubscriptionRequest(customer=customer, resource=resource)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.FollowSubscription, request)
    show_customer(response.customer, as_json=as_json)


@app.command()
def cancel(
    customer: options.CustomerArgument,
    *,
    resource: options.ResourceOption = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """End a subscription now."""
    request = CancelSubscriptionRequest(customer=customer, resource=resource)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.CancelSubscription, request)
    show_customer(response.customer, as_json=as_json)
