"""`weighbridge customer import`: customers as a CRM has them, from CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from weighbridge.cli import options
from weighbridge.cli.connection import open_control_plane
from weighbridge.cli.csv_file import Line, number_of, read_lines
from weighbridge.cli.exit_codes import CommandError, ExitCode
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import listing_or, print_human, print_json
from weighbridge.v1 import integration_service_pb2 as pb
from weighbridge.v1.sync_service_pb2 import SubscribedAddOn
from weighbridge.v1.types_pb2 import Entitlement, Limit

_OPTIONAL: Final = ("name", "catalog", "plan", "add_ons", "seats", "overrides")
_EXTERNAL: Final = "external."
_NONE: Final = "none"
_UNLIMITED: Final = "unlimited"
_SWITCHES: Final = {"on": True, "off": False}


def import_customers(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=f"CSV with a header, - for stdin: customer; optional {', '.join(_OPTIONAL)}, "
            f"{_EXTERNAL}SYSTEM; add-ons and overrides apart by blanks",
        ),
    ],
    *,
    yes: Annotated[
        bool, typer.Option("--yes", help="Apply it; else only say what changes")
    ] = False,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = 120.0,
    as_json: options.JsonOption = False,
) -> None:
    """Have customers be as a file says: plans, seats, names elsewhere, negotiated limits.

    All rows are checked before anything is changed. An empty cell leaves what there is.
    """
    lines = read_lines(file, ("customer",), _OPTIONAL, _EXTERNAL)
    request = pb.ImportCustomersRequest(rows=map(_row, lines), dry_run=not yes)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.integrations.ImportCustomers, request)
    if as_json:
        print_json({"applied": yes, **message_to_json(response)})
        return
    rows = [
        (str(row.line), row.customer, change) for row in response.rows for change in row.changes
    ]
    print_human(listing_or("nothing changes", ["line", "customer", "change"], rows))
    if rows and not yes:
        print_human("Nothing was changed yet: --yes applies it.")


def _row(line: Line) -> pb.CustomerRow:
    cells = line.cells
    row = pb.CustomerRow(
        line=line.number,
        customer=cells.get("customer", ""),
        name=cells.get("name", ""),
        catalog=cells.get("catalog", ""),
        plan=cells.get("plan", ""),
        seats=number_of(line, "seats"),
        external_ids={
            name.removeprefix(_EXTERNAL): cell
            for name, cell in cells.items()
            if name.startswith(_EXTERNAL)
        },
        overrides=_overrides(line),
    )
    if bought := cells.get("add_ons", ""):
        row.add_ons.SetInParent()
        if bought != _NONE:
            row.add_ons.add_ons.extend(_add_on(line, text) for text in bought.split())
    return row


def _add_on(line: Line, text: str) -> SubscribedAddOn:
    add_on, equals, quantity = text.partition("=")
    if equals and not quantity.isdecimal():
        raise _wrong(line, f"add_ons: {text}: write ID or ID=QUANTITY")
    return SubscribedAddOn(add_on=add_on, quantity=int(quantity) if equals else 1)


def _overrides(line: Line) -> list[Entitlement]:
    """Return one override for each feature, with all limits that are named of it."""
    found: dict[str, Entitlement] = {}
    for text in line.cells.get("overrides", "").split():
        name, equals, value = text.partition("=")
        feature, colon, limit = name.rpartition(":")
        if not equals:
            raise _wrong(line, f"overrides: {text}: write FEATURE:LIMIT=NUMBER or FEATURE=NUMBER")
        wanted = found.setdefault(feature if colon else name, Entitlement(enabled=True))
        wanted.feature = feature if colon else name
        if colon:
            amount = None if value == _UNLIMITED else _number(line, text, value)
            wanted.limits.append(Limit(id=limit, limit=amount))
        elif value in _SWITCHES:
            wanted.enabled = _SWITCHES[value]
        else:
            wanted.number = _number(line, text, value)
    return list(found.values())


def _number(line: Line, text: str, value: str) -> int:
    if not value.isdecimal() or len(value) > 18:  # noqa: PLR2004 - fits 64 bits
        raise _wrong(line, f"overrides: {text}: {value!r} is no number")
    return int(value)


def _wrong(line: Line, problem: str) -> CommandError:
    return CommandError(f"{line.place}: {problem}", ExitCode.INVALID)
