"""`weighbridge catalog draft`: a draft beside the live version, evaluated without effect."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from weighbridge.cli import options
from weighbridge.cli.catalog_view import diff_view
from weighbridge.cli.connection import open_control_plane, open_sidecar
from weighbridge.cli.document_text import read_document
from weighbridge.cli.draft_view import shadow_view
from weighbridge.cli.instants import format_instant
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.output import print_human, print_json
from weighbridge.v1.admin_service_pb2 import (
    Draft,
    GetDraftRequest,
    PutDraftRequest,
    RemoveDraftRequest,
)
from weighbridge.v1.sidecar_service_pb2 import GetShadowReportRequest

app = typer.Typer(
    add_completion=False,
    help="Have sidecars evaluate a draft beside the live version: it decides nothing.",
)

CatalogArgument = Annotated[str, typer.Argument(metavar="CATALOG", help="The catalog's id")]


@app.command()
def put(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A catalog document in YAML; - is stdin")
    ],
    *,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Evaluate a document, in place of the draft there is. Shows what applying it would change."""
    document = read_document(file)
    request = PutDraftRequest(document=document.text, source_name=document.source_name)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.PutDraft, request)
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(diff_view(response.diff), _title(response.draft))


@app.command()
def show(
    catalog: CatalogArgument,
    *,
    document: Annotated[
        bool, typer.Option("--document", help="Print the YAML as it was put")
    ] = False,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Show what applying the draft would change now."""
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.GetDraft, GetDraftRequest(catalog=catalog))
    if as_json:
        print_json(message_to_json(response))
    elif document:
        sys.stdout.write(response.draft.document)
    else:
        print_human(_title(response.draft), diff_view(response.diff))


@app.command()
def remove(
    catalog: CatalogArgument,
    *,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """End the evaluation of the draft."""
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.RemoveDraft, RemoveDraftRequest(catalog=catalog))
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(f"{catalog}: there is no draft any more")


@app.command()
def report(
    catalog: Annotated[
        str, typer.Argument(metavar="[CATALOG]", help="The catalog's id; all if not given")
    ] = "",
    *,
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, max=1000, help="Customers shown")
    ] = 10,
    sidecar: options.SidecarOption = options.DEFAULT_SIDECAR,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Show what drafts would have answered, at one sidecar and since it has them."""
    request = GetShadowReportRequest(catalog=catalog, customers_max=top)
    with open_sidecar(sidecar, timeout_s) as peer:
        response = peer.call(peer.service.GetShadowReport, request)
    if as_json:
        print_json(message_to_json(response))
    elif response.reports:
        print_human(*map(shadow_view, response.reports))
    else:
        print_human("this sidecar has no draft")


def _title(draft: Draft) -> str:
    since = format_instant(draft.created_at_unix_ms)
    return f"{draft.catalog}: draft {draft.number}, since {since}"
