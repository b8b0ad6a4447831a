"""`weighbridge subscription`: puts customers and resources on plans."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final

import typer

from weighbridge.cli import options
from weighbridge.cli.connection import ControlPlane, open_control_plane
from weighbridge.cli.customer_view import show_customer
from weighbridge.cli.exit_codes import UsageError
from weighbridge.cli.instants import INSTANT_HELP, parse_instant
from weighbridge.v1 import admin_service_pb2, types_pb2
from weighbridge.v1.admin_service_pb2 import (
    CancelSubscriptionRequest,
    FollowSubscriptionRequest,
    PinSubscriptionRequest,
    SetSubscriptionRequest,
    SetSubscriptionStatusRequest,
)
from weighbridge.v1.sync_service_pb2 import SubscribedAddOn


class When(Enum):
    """When a subscription changes."""

    NOW = "now"
    PERIOD_END = "period_end"


_WHEN: Final = {
    When.NOW: admin_service_pb2.CHANGE_TIME_NOW,
    When.PERIOD_END: admin_service_pb2.CHANGE_TIME_PERIOD_END,
}
WhenOption = Annotated[
    When,
    typer.Option("--when", help="Now, or when the month since its anchor last returned ends"),
]

QuantityOption = Annotated[
    int | None, typer.Option("--quantity", metavar="N", help="Seats; else as many as there are")
]
TrialDaysOption = Annotated[
    int | None,
    typer.Option("--trial-days", metavar="N", help="Try it so long, 0: not; else as the plan says"),
]
TrialAtEndOption = Annotated[
    str,
    typer.Option(
        "--trial-at-end", metavar="cancel|PLAN", help="What follows; else as the plan says"
    ),
]

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
    when: WhenOption = When.NOW,
    quantity: QuantityOption = None,
    trial_days: TrialDaysOption = None,
    trial_at_end: TrialAtEndOption = "",
    resource: options.ResourceOption = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Put a customer or resource on a plan, in place of the plan and add-ons it is on.

    What was to happen at the end of the period is taken back: to keep things as they are, set them.
    """
    request = SetSubscriptionRequest(
        customer=customer,
        resource=resource,
        plan=plan,
        plan_version=version,
        when=_WHEN[when],
        quantity=quantity,
        trial_days=trial_days,
        trial_then=("" if trial_at_end == "cancel" else trial_at_end) if trial_at_end else None,
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
    when: WhenOption = When.NOW,
    resource: options.ResourceOption = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """End a subscription, now or when its period ends."""
    request = CancelSubscriptionRequest(customer=customer, resource=resource, when=_WHEN[when])
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.CancelSubscription, request)
    show_customer(response.customer, as_json=as_json)


@app.command()
def pause(
    customer: options.CustomerArgument,
    *,
    until: Annotated[
        str,
        typer.Option(
            "--until", metavar="INSTANT", help=f"Else until it is resumed: {INSTANT_HELP}"
        ),
    ] = "",
    resource: options.ResourceOption = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Have a subscription grant nothing for a while."""
    request = SetSubscriptionStatusRequest(
        customer=customer,
        resource=resource,
        status=types_pb2.SUBSCRIPTION_STATUS_PAUSED,
        until_unix_ms=parse_instant(until) if until else None,
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        _set_status(peer, request, as_json=as_json)


@app.command("past-due")
def past_due(
    customer: options.CustomerArgument,
    *,
    until: Annotated[
        str,
        typer.Option("--until", metavar="INSTANT", help=f"When its grace ends: {INSTANT_HELP}"),
    ],
    resource: options.ResourceOption = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Have a subscription grant what it did until a grace ends, and nothing after that."""
    request = SetSubscriptionStatusRequest(
        customer=customer,
        resource=resource,
        status=types_pb2.SUBSCRIPTION_STATUS_PAST_DUE,
        until_unix_ms=parse_instant(until),
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        _set_status(peer, request, as_json=as_json)


@app.command()
def resume(
    customer: options.CustomerArgument,
    *,
    resource: options.ResourceOption = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Make a subscription that is paused or past due active again."""
    request = SetSubscriptionStatusRequest(
        customer=customer, resource=resource, status=types_pb2.SUBSCRIPTION_STATUS_ACTIVE
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        _set_status(peer, request, as_json=as_json)


def _set_status(
    peer: ControlPlane, request: SetSubscriptionStatusRequest, *, as_json: bool
) -> None:
    response = peer.call(peer.admin.SetSubscriptionStatus, request)
    show_customer(response.customer, as_json=as_json)
