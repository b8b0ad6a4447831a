"""`weighbridge control-plane`: runs the control plane in place of this process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from weighbridge.cli.settings_environment import SettingOption, become, settings_environment

PREFIX: Final = "WEIGHBRIDGE_CONTROL_PLANE_"

app = typer.Typer(add_completion=False)


@app.command("control-plane")
def control_plane(
    *,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Database and token files")
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="Administration and sidecars"),
    ] = None,
    probe_listen: Annotated[
        str | None,
        typer.Option("--probe-listen", metavar="HOST:PORT", help="/livez, /readyz and /metrics"),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option("--database-url", metavar="URL", help="SQLite or PostgreSQL"),
    ] = None,
    log_level: Annotated[str | None, typer.Option("--log-level", help="debug to critical")] = None,
    log_format: Annotated[
        str | None, typer.Option("--log-format", metavar="json|console", help="For whom")
    ] = None,
    setting: SettingOption = None,
) -> None:
    """Run the control plane. What is not given comes from WEIGHBRIDGE_CONTROL_PLANE_*."""
    options = {
        "data_dir": data_dir,
        "listen": listen,
        "probe_listen": probe_listen,
        "database_url": database_url,
        "log_level": log_level,
        "log_format": log_format,
    }
    become("control_plane", settings_environment(PREFIX, options, setting))
