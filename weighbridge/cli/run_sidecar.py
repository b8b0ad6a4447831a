"""`weighbridge sidecar`: runs the sidecar in place of this process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from weighbridge.cli.settings_environment import SettingOption, become, settings_environment

PREFIX: Final = "WEIGHBRIDGE_SIDECAR_"

app = typer.Typer(add_completion=False)


@app.command()
def sidecar(
    *,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Journal and last snapshots; of one sidecar")
    ] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="HOST:PORT", help="Where applications ask")
    ] = None,
    listen_anywhere: Annotated[
        bool | None,
        typer.Option("--listen-anywhere", help="Allow addresses that other machines reach"),
    ] = None,
    socket: Annotated[
        Path | None, typer.Option("--socket", metavar="PATH", help="The unix socket")
    ] = None,
    probe_listen: Annotated[
        str | None,
        typer.Option("--probe-listen", metavar="HOST:PORT", help="/livez, /readyz and /metrics"),
    ] = None,
    control_plane: Annotated[
        str | None, typer.Option("--control-plane", metavar="HOST:PORT", help="Where it is")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File with the sync token")
    ] = None,
    mode: Annotated[
        str | None, typer.Option("--mode", metavar="all|listed|on_demand", help="Whom it holds")
    ] = None,
    customer: Annotated[
        list[str] | None,
        typer.Option("--customer", metavar="ID", help="With --mode listed; repeatable"),
    ] = None,
    log_level: Annotated[str | None, typer.Option("--log-level", help="debug to critical")] = None,
    log_format: Annotated[
        str | None, typer.Option("--log-format", metavar="json|console", help="For whom")
    ] = None,
    setting: SettingOption = None,
) -> None:
    """Run the sidecar. What is not given comes from WEIGHBRIDGE_SIDECAR_*, else is the default."""
    options = {
        "data_dir": data_dir,
        "listen": listen,
        "listen_anywhere": listen_anywhere or None,
        "socket": socket,
        "probe_listen": probe_listen,
        "control_plane": control_plane,
        "token_file": token_file,
        "mode": mode,
        "customers": ",".join(customer) if customer else None,
        "log_level": log_level,
        "log_format": log_format,
    }
    become("sidecar", settings_environment(PREFIX, options, setting))
