"""The entry point of the `weighbridge` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process."""
    try:
        from weighbridge.cli.root import run  # noqa: PLC0415 - an application has no typer
    except ModuleNotFoundError as error:
        if error.name not in {"rich", "typer"}:
            raise
        sys.exit("error: the weighbridge command is not installed; install weighbridge[cli]")
    sys.exit(run(sys.argv[1:]))
