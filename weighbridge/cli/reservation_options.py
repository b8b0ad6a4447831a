"""Options that the commands about reservations share."""

from __future__ import annotations

from typing import Annotated

import typer

from weighbridge.cli.instants import parse_span

ReservationArgument = Annotated[
    str, typer.Argument(metavar="RESERVATION", help="The reservation's id")
]
TtlOption = Annotated[
    str | None,
    typer.Option("--ttl", metavar="SPAN", help="How long from now it is held: 90s, 5m, 2h"),
]


def ttl_ms(ttl: str | None) -> int | None:
    """Return milliseconds. Raises a usage error that says what is understood."""
    return None if ttl is None else parse_span(ttl)
