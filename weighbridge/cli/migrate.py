"""`weighbridge migrate`: brings the control plane's database to the newest schema, and ends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weighbridge.cli.run_control_plane import PREFIX
from weighbridge.cli.settings_environment import SettingOption, become, settings_environment

app = typer.Typer(add_completion=False)


@app.command()
def migrate(
    *,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Where a SQLite database lies")
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option("--database-url", metavar="URL", help="SQLite or PostgreSQL"),
    ] = None,
    setting: SettingOption = None,
) -> None:
    """Bring the database to the newest schema. Settings are those of the control plane."""
    options = {"data_dir": data_dir, "database_url": database_url}
    become("control_plane.migrating", settings_environment(PREFIX, options, setting))
