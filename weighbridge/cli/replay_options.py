"""The options of `weighbridge replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from weighbridge.cli.instants import INSTANT_HELP
from weighbridge.cli.replay_columns import TimeUnit
from weighbridge.cli.replay_file import FILE_HELP

_COLUMN: Final = "COLUMN|=TEXT"
_MAPPING: Final = "Which column is what; =TEXT is the same in every row"
_SUBSCRIBED: Final = "How customers are subscribed"

UsageArgument = Annotated[Path, typer.Argument(metavar="USAGE", help=FILE_HELP)]
CatalogOption = Annotated[
    Path, typer.Option("--catalog", metavar="FILE", help="The draft, in YAML; - is stdin")
]
BeforeOption = Annotated[
    Path | None, typer.Option("--before", metavar="FILE", help="Compare with this document")
]
LiveOption = Annotated[
    bool, typer.Option("--live", help="Compare with the control plane's current version")
]
CustomerOption = Annotated[
    str, typer.Option("--customer", metavar=_COLUMN, rich_help_panel=_MAPPING)
]
TimeOption = Annotated[
    str,
    typer.Option(
        "--time",
        metavar=_COLUMN,
        help="ISO 8601, Unix seconds or milliseconds",
        rich_help_panel=_MAPPING,
    ),
]
TimeUnitOption = Annotated[
    TimeUnit, typer.Option("--time-unit", help="What numbers count", rich_help_panel=_MAPPING)
]
StartOption = Annotated[
    str,
    typer.Option(
        "--start",
        metavar="INSTANT",
        help=f"Numbers count from here: {INSTANT_HELP}",
        rich_help_panel=_MAPPING,
    ),
]
FeatureOption = Annotated[str, typer.Option("--feature", metavar=_COLUMN, rich_help_panel=_MAPPING)]
AmountOption = Annotated[
    str,
    typer.Option(
        "--amount",
        metavar=_COLUMN,
        help="Of --feature: units, a number, or the value asked for",
        rich_help_panel=_MAPPING,
    ),
]
UsageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--usage",
        metavar=f"FEATURE={_COLUMN}",
        help="Instead of --feature, repeatable: all that one row used",
        rich_help_panel=_MAPPING,
    ),
]
DimensionOption = Annotated[
    list[str] | None,
    typer.Option("--dimension", metavar=f"NAME={_COLUMN}", rich_help_panel=_MAPPING),
]
PlanOption = Annotated[
    str,
    typer.Option("--plan", metavar="PLAN", help="Everybody's", rich_help_panel=_SUBSCRIBED),
]
PlanColumnOption = Annotated[
    str,
    typer.Option(
        "--plan-column", metavar="COLUMN", help="Each one's own", rich_help_panel=_SUBSCRIBED
    ),
]
AnchorOption = Annotated[
    str,
    typer.Option(
        "--anchor",
        metavar="INSTANT",
        help="Where periods count from; a customer's first usage if not given",
        rich_help_panel=_SUBSCRIBED,
    ),
]
SeatsOption = Annotated[
    int, typer.Option("--seats", metavar="N", help="Each one's", rich_help_panel=_SUBSCRIBED)
]
CurrencyOption = Annotated[
    str,
    typer.Option(
        "--currency",
        metavar="CODE",
        help="Where plans are sold in several",
        rich_help_panel=_SUBSCRIBED,
    ),
]
ApartOption = Annotated[
    bool, typer.Option("--apart", help="Decide each --usage of a row by itself, not all or none")
]
SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out rows that cannot be read, and count them")
]
CsvOption = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE", help="Write every customer's figures")
]
TopOption = Annotated[
    int, typer.Option("--top", metavar="N", min=0, help="Customers refused most, shown")
]
