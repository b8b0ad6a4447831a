"""`weighbridge doctor`: says in plain words what is well, what is not, and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from weighbridge.cli import options
from weighbridge.cli.data_directory import DataDirectory
from weighbridge.cli.doctor_findings import Finding, Level
from weighbridge.cli.doctor_machine import machine_findings
from weighbridge.cli.doctor_processes import Targets, process_findings
from weighbridge.cli.exit_codes import CommandError, CommandNoError, ExitCode
from weighbridge.cli.output import plain, print_human, print_json

app = typer.Typer(add_completion=False)

_PROBES: Final = {"sidecar_probes": "127.0.0.1:7701", "control_plane_probes": "127.0.0.1:7711"}
_STYLE: Final = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
_WHERE: Final = "Where (else what `up` in the data directory says, else the defaults)"


def _where(name: str, text: str, variable: str | None = None) -> typer.models.OptionInfo:
    info: typer.models.OptionInfo = typer.Option(
        name, metavar="ADDRESS", envvar=variable, help=text, rich_help_panel=_WHERE
    )
    return info


@app.command()
def doctor(
    *,
    data_dir: Annotated[
        Path, typer.Option("--data-dir", metavar="DIR", help="The directory of `up`")
    ] = options.DEFAULT_DATA_DIR,
    control_plane: Annotated[
        str | None, _where("--control-plane", "gRPC", options.CONTROL_PLANE_VARIABLE)
    ] = None,
    control_plane_probes: Annotated[str | None, _where("--control-plane-probes", "HTTP")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", envvar=options.TOKEN_FILE_VARIABLE, help="The admin token"),
    ] = None,
    sidecar: Annotated[str | None, _where("--sidecar", "gRPC", options.SIDECAR_VARIABLE)] = None,
    sidecar_probes: Annotated[str | None, _where("--sidecar-probes", "HTTP")] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.001, help="Per question")
    ] = 3.0,
    as_json: options.JsonOption = False,
) -> None:
    """Check this machine and both processes. Exit code 1: something fails."""
    directory = DataDirectory(data_dir)
    known = _known_addresses(directory)
    token = token_file or Path(known.get("admin_token_file", directory.admin_token))
    targets = Targets(
        control_plane=control_plane or known.get("control_plane", options.DEFAULT_CONTROL_PLANE),
        control_plane_probes=_probes(control_plane_probes, "control_plane_probes", known),
        token_file=token,
        sidecar=sidecar or known.get("sidecar", options.DEFAULT_SIDECAR),
        sidecar_probes=_probes(sidecar_probes, "sidecar_probes", known),
        timeout_s=timeout_s,
    )
    files = {"admin": token, "sync": directory.sync_token}
    findings = [*machine_findings(directory.root, files), *process_findings(targets)]
    is_well = all(finding.level is not Level.FAIL for finding in findings)
    if as_json:
        print_json({"well": is_well, "checks": [finding.to_json() for finding in findings]})
    else:
        print_human(_report(findings))
    if not is_well:
        raise CommandNoError


def _known_addresses(directory: DataDirectory) -> dict[str, str]:
    """Return what a running `up` wrote; nothing where none runs."""
    try:
        written = json.loads(directory.addresses.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CommandError(f"{directory.addresses}: {error}", ExitCode.INVALID) from error
    return {name: text for name, text in written.items() if isinstance(text, str)}


def _probes(given: str | None, name: str, known: dict[str, str]) -> str:
    return (given or known.get(name, _PROBES[name])).removeprefix("http://")


def _report(findings: Iterable[Finding]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for style in (None, "bold", None):
        table.add_column(style=style, overflow="fold")
    for finding in findings:
        seen = Text(plain(finding.seen))
        if finding.advice:
            seen.append(f"\n-> {plain(finding.advice)}", style=_STYLE[finding.level])
        level = Text(finding.level.value, style=_STYLE[finding.level])
        table.add_row(level, finding.check, seen)
    return table
