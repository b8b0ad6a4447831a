"""Options that consume and report share: keys, scopes and dimensions."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final

import typer

from weighbridge.cli.exit_codes import UsageError
from weighbridge.v1 import types_pb2


class Scope(Enum):
    """How far an idempotency key reaches."""

    SIDECAR = "sidecar"
    FLEET = "fleet"


SCOPE_TO_PROTO: Final = {
    Scope.SIDECAR: types_pb2.IDEMPOTENCY_SCOPE_SIDECAR,
    Scope.FLEET: types_pb2.IDEMPOTENCY_SCOPE_FLEET,
}

AmountOption = Annotated[
    int | None,
    typer.Option(
        "--amount",
        metavar="N",
        help="Units used; 1 where not given. Of an allocation, -N releases what is held",
    ),
]
KeyOption = Annotated[
    str,
    typer.Option("--key", metavar="TEXT", help="Idempotency key: a retry records nothing again"),
]
ScopeOption = Annotated[Scope, typer.Option("--scope", help="How far the key reaches")]
DimensionOption = Annotated[
    list[str] | None,
    typer.Option("--dimension", metavar="NAME=VALUE", help="What it is about; repeatable"),
]


def parse_dimensions(texts: list[str] | None) -> dict[str, str]:
    """Return NAME=VALUE texts as a mapping. Raises a usage error that names the wrong one."""
    dimensions: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--dimension {text!r}: write NAME=VALUE")
        if name in dimensions:
            raise UsageError(f"--dimension {name}: given twice")
        dimensions[name] = value
    return dimensions
