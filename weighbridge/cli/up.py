"""`weighbridge up`: a control plane and a sidecar on the embedded default, until Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from weighbridge.cli import options
from weighbridge.cli.child import Child
from weighbridge.cli.connection import open_control_plane
from weighbridge.cli.data_directory import DataDirectory
from weighbridge.cli.document_text import DocumentText, read_document
from weighbridge.cli.exit_codes import CommandError, ExitCode
from weighbridge.cli.output import print_json
from weighbridge.cli.pair import Pair, Ports
from weighbridge.cli.stop_signals import StopSignals
from weighbridge.cli.up_screen import UpScreen, announce
from weighbridge.v1.admin_service_pb2 import ApplyCatalogRequest, ApplyCatalogResponse

app = typer.Typer(add_completion=False)

_PORTS: Final = "Ports (0 takes a free one)"
PortOption = Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, rich_help_panel=_PORTS)]


@app.command()
def up(
    *,
    data_dir: Annotated[
        Path, typer.Option("--data-dir", metavar="DIR", help="Where both keep everything")
    ] = options.DEFAULT_DATA_DIR,
    catalog: Annotated[
        list[Path] | None,
        typer.Option("--catalog", metavar="FILE", help="Apply it after the start; repeatable"),
    ] = None,
    sidecar_port: PortOption = 7700,
    sidecar_probe_port: PortOption = 7701,
    control_plane_port: PortOption = 7710,
    control_plane_probe_port: PortOption = 7711,
    ready_timeout_s: Annotated[
        float, typer.Option("--ready-timeout", metavar="SECONDS", min=1, help="For each to start")
    ] = 60.0,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the logs of both on stderr")
    ] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Run a control plane and a sidecar on SQLite in one directory, until Ctrl-C.

    Exit code 8: one of them did not start or ended by itself, or a port is in use.
    """
    documents = [read_document(file) for file in catalog or ()]
    directory = DataDirectory(data_dir)
    wanted = Ports(sidecar_port, sidecar_probe_port, control_plane_port, control_plane_probe_port)
    screen = UpScreen(verbose=verbose)
    with StopSignals() as stop, directory.claimed():
        pair = Pair(directory, wanted.settled(), screen)
        with closing(screen), _stopped_after(pair, stop):
            if not pair.start(stop, ready_timeout_s):
                return
            screen.say("applying catalogs")
            applied = _apply(pair, documents)
            directory.write_addresses(pair.addresses())
            screen.rest()
            if as_json:
                print_json(pair.addresses())
            else:
                announce(pair.addresses(), applied)
            pair.watch(stop)


@contextmanager
def _stopped_after(pair: Pair, stop: StopSignals) -> Iterator[None]:
    killed: list[Child] = []
    try:
        yield
    finally:
        killed += pair.stop(stop)
    if killed:
        names = " and ".join(child.name for child in killed)
        raise CommandError(f"{names} did not stop in time and was killed", ExitCode.FAILED)


def _apply(pair: Pair, documents: Sequence[DocumentText]) -> list[ApplyCatalogResponse]:
    if not documents:
        return []
    address, token_file = pair.addresses()["control_plane"], pair.directory.admin_token
    with open_control_plane(address, token_file, options.DEFAULT_TIMEOUT_S) as peer:
        requests = [
            ApplyCatalogRequest(document=document.text, source_name=document.source_name)
            for document in documents
        ]
        return [peer.call(peer.admin.ApplyCatalog, request) for request in requests]
