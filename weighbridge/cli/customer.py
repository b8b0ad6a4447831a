"""`weighbridge customer`: makes, shows, archives and revokes customers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from weighbridge.cli import options
from weighbridge.cli.connection import ControlPlane, open_control_plane
from weighbridge.cli.csv_file import read_lines
from weighbridge.cli.customer_import import import_customers
from weighbridge.cli.customer_view import customers_table, show_customer
from weighbridge.cli.exit_codes import CommandError, UsageError
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import print_human, print_json
from weighbridge.cli.progress import track
from weighbridge.v1 import types_pb2
from weighbridge.v1.admin_service_pb2 import (
    CreateCustomerRequest,
    CreateResourceRequest,
    Customer,
    GetCustomerRequest,
    ListCustomersRequest,
    SetCustomerStatusRequest,
)

_OPTIONAL: Final = ("name", "catalog", "plan", "parent", "resources")
_PAGE_SIZE_MAX: Final = 1000

app = typer.Typer(add_completion=False, help="Make, show, archive and revoke customers.")
app.command("import")(import_customers)

ResourcesOption = Annotated[
    list[str] | None,
    typer.Option("--resource", metavar="ID", help="A resource to make with it; repeatable"),
]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help=f"Make many: CSV with a header, - for stdin: id; optional {', '.join(_OPTIONAL)} "
        "(resources apart by blanks)",
    ),
]


@app.command()
def create(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The id to give it")] = "",
    *,
    name: Annotated[str, typer.Option("--name", help="What people call it")] = "",
    catalog: Annotated[
        str, typer.Option("--catalog", metavar="ID", help="Needed where there are several")
    ] = "",
    plan: Annotated[str, typer.Option("--plan", metavar="ID", help="Subscribe it at once")] = "",
    parent: Annotated[
        str, typer.Option("--parent", metavar="ID", help="The customer it is under, for good")
    ] = "",
    resource: ResourcesOption = None,
    file: FileOption = None,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Make a customer, or many from a file."""
    if (file is None) == (not customer):
        raise UsageError("name one CUSTOMER, or a --file of them")
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        if file is not None:
            _create_from(peer, file, as_json=as_json)
            return
        request = CreateCustomerRequest(
            id=customer, name=name, catalog=catalog, plan=plan, resources=resource, parent=parent
        )
        show_customer(peer.call(peer.admin.CreateCustomer, request).customer, as_json=as_json)


def _create_from(peer: ControlPlane, file: Path, *, as_json: bool) -> None:
    lines = read_lines(file, ("id",), _OPTIONAL)
    with track("creating", len(lines), shown=not as_json) as advance:
        for done, line in enumerate(lines):
            cells = line.cells
            request = CreateCustomerRequest(
                id=cells.get("id", ""),
                name=cells.get("name", ""),
                catalog=cells.get("catalog", ""),
                plan=cells.get("plan", ""),
                parent=cells.get("parent", ""),
                resources=cells.get("resources", "").split(),
            )
            try:
                peer.call(peer.admin.CreateCustomer, request)
            except CommandError as error:
                raise CommandError(
                    f"{line.place}: {error.message}; {done} customers were made before it",
                    error.exit_code,
                ) from error
            advance()
    if as_json:
        print_json({"created": len(lines)})
    else:
        print_human(f"{len(lines):,} customers made")


@app.command()
def get(
    customer: options.CustomerArgument,
    *,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Show a customer with its subscriptions and overrides."""
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.GetCustomer, GetCustomerRequest(id=customer))
    show_customer(response.customer, as_json=as_json)


@app.command("list")
def list_customers(
    *,
    catalog: Annotated[
        str, typer.Option("--catalog", metavar="ID", help="Only those of one catalog")
    ] = "",
    parent: Annotated[
        str, typer.Option("--parent", metavar="ID", help="Only those directly under a customer")
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="At most N; 0 means all")
    ] = 100,
    page_token: Annotated[
        str, typer.Option("--page-token", help="Go on from there: printed where there are more")
    ] = "",
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """List customers by id."""
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        scope = ListCustomersRequest(page_token=page_token, catalog=catalog, parent=parent)
        customers, next_page_token = _pages(peer, scope, limit)
    if as_json:
        shapes = [message_to_json(customer) for customer in customers]
        print_json({"customers": shapes, "next_page_token": next_page_token or None})
        return
    print_human(customers_table(customers))
    if next_page_token:
        print_human(f"There are more: --page-token {next_page_token}, or --limit 0 for all.")


def _pages(
    peer: ControlPlane, request: ListCustomersRequest, limit: int
) -> tuple[list[Customer], str]:
    customers: list[Customer] = []
    while True:
        missing = limit - len(customers) if limit else _PAGE_SIZE_MAX
        request.page_size = min(missing, _PAGE_SIZE_MAX)
        response = peer.call(peer.admin.ListCustomers, request)
        customers += response.customers
        request.page_token = response.next_page_token
        if not request.page_token or (limit and len(customers) >= limit):
            return customers, request.page_token


@app.command()
def archive(
    customer: options.CustomerArgument,
    *,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Refuse a customer from now on, as one that left. Its usage stays."""
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        _set_status(peer, customer, types_pb2.CUSTOMER_STATUS_ARCHIVED, as_json=as_json)


@app.command()
def revoke(
    customer: options.CustomerArgument,
    *,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Refuse a customer from now on, as one that is cut off."""
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        _set_status(peer, customer, types_pb2.CUSTOMER_STATUS_REVOKED, as_json=as_json)


@app.command()
def activate(
    customer: options.CustomerArgument,
    *,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Serve an archived or revoked customer again."""
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        _set_status(peer, customer, types_pb2.CUSTOMER_STATUS_ACTIVE, as_json=as_json)


def _set_status(
    peer: ControlPlane, customer: str, status: types_pb2.CustomerStatus.ValueType, *, as_json: bool
) -> None:
    request = SetCustomerStatusRequest(id=customer, status=status)
    show_customer(peer.call(peer.admin.SetCustomerStatus, request).customer, as_json=as_json)


@app.command("add-resource")
def add_resource(
    customer: options.CustomerArgument,
    resource: Annotated[str, typer.Argument(metavar="RESOURCE", help="The id to give it")],
    *,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Add a resource to a customer: a workspace or project with a subscription of its own."""
    request = CreateResourceRequest(customer=customer, resource=resource)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.CreateResource, request)
    show_customer(response.customer, as_json=as_json)
