"""Options that several commands share: one name, one default and one help text each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

DEFAULT_DATA_DIR: Final = Path("weighbridge-data")
DEFAULT_CONTROL_PLANE: Final = "127.0.0.1:7710"
DEFAULT_SIDECAR: Final = "127.0.0.1:7700"
DEFAULT_TOKEN_FILE: Final = DEFAULT_DATA_DIR / "admin.token"
DEFAULT_TIMEOUT_S: Final = 10.0

CONTROL_PLANE_VARIABLE: Final = "WEIGHBRIDGE_CONTROL_PLANE"
SIDECAR_VARIABLE: Final = "WEIGHBRIDGE_SIDECAR"
TOKEN_FILE_VARIABLE: Final = "WEIGHBRIDGE_ADMIN_TOKEN_FILE"  # noqa: S105 - a variable's name

_WHERE: Final = "Where"

ControlPlaneOption = Annotated[
    str,
    typer.Option(
        "--control-plane",
        metavar="HOST:PORT",
        envvar=CONTROL_PLANE_VARIABLE,
        help="The control plane's gRPC address",
        rich_help_panel=_WHERE,
    ),
]
TokenFileOption = Annotated[
    Path,
    typer.Option(
        "--token-file",
        metavar="FILE",
        envvar=TOKEN_FILE_VARIABLE,
        help="File with the admin token",
        rich_help_panel=_WHERE,
    ),
]
SidecarOption = Annotated[
    str,
    typer.Option(
        "--sidecar",
        metavar="HOST:PORT|unix:PATH",
        envvar=SIDECAR_VARIABLE,
        help="The sidecar's gRPC address",
        rich_help_panel=_WHERE,
    ),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="SECONDS", min=0.001, help="Deadline per call", rich_help_panel=_WHERE
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table")]
ResourceOption = Annotated[
    str, typer.Option("--resource", metavar="ID", help="A resource of the customer, not itself")
]
CustomerArgument = Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id")]
FeatureArgument = Annotated[str, typer.Argument(metavar="FEATURE", help="The feature's id")]
