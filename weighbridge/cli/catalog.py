"""`weighbridge catalog`: validates, compares, applies, shows and rolls back catalogs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from weighbridge.cli import catalog_draft, options
from weighbridge.cli.catalog_view import (
    catalog_view,
    catalogs_table,
    diff_view,
    history_table,
    version_changes,
)
from weighbridge.cli.connection import ControlPlane, open_control_plane
from weighbridge.cli.document_text import DocumentText, read_document
from weighbridge.cli.exit_codes import CommandError, CommandNoError, ExitCode, UsageError
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.migration_text import MigrationOption, Migrations, parse_migrations
from weighbridge.cli.output import listing, print_human, print_json
from weighbridge.v1.admin_service_pb2 import (
    ApplyCatalogRequest,
    ApplyCatalogResponse,
    DiffCatalogRequest,
    DiffCatalogResponse,
    GetCatalogRequest,
    ListCatalogsRequest,
    ListCatalogVersionsRequest,
    RollbackCatalogRequest,
)

app = typer.Typer(
    add_completion=False, help="Validate, compare, apply and show catalogs: what is sold."
)

app.add_typer(catalog_draft.app, name="draft")

FilesArgument = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Catalog documents in YAML; - is stdin")
]


@app.command()
def validate(files: FilesArgument, *, as_json: options.JsonOption = False) -> None:
    """Check catalog files without a control plane. Exit code 3: a file is invalid."""
    from weighbridge.cli import catalog_file  # noqa: PLC0415 - the other commands need no pydantic

    validations = [catalog_file.validate(read_document(file)) for file in files]
    if as_json:
        print_json({"files": [validation.to_json() for validation in validations]})
    else:
        columns = ("file", "catalog", "features", "plans", "add-ons")
        rows = [
            (
                each.file,
                each.catalog,
                str(each.features),
                *map(", ".join, (each.plans, each.add_ons)),
            )
            for each in validations
            if each.finding is None
        ]
        if rows:
            print_human(listing(columns, rows))
    messages = [validation.message for validation in validations if validation.finding]
    if messages:
        count = f"{len(messages)} of {len(files)} files are invalid; " if len(files) > 1 else ""
        raise CommandError(count + "; ".join(messages), ExitCode.INVALID)


@app.command()
def schema(*, _as_json: options.JsonOption = False) -> None:
    """Print the JSON Schema of a catalog file, for editors. It is JSON with and without --json."""
    from weighbridge.cli import catalog_file  # noqa: PLC0415 - the other commands need no pydantic

    sys.stdout.write(json.dumps(catalog_file.schema(), indent=2) + "\n")


@app.command()
def diff(
    files: FilesArgument,
    *,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 1 where something would change")
    ] = False,
    migration: MigrationOption = None,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Show what applying would change, and which customers it affects. Changes nothing."""
    migrations = parse_migrations(migration or ())
    documents = [read_document(file) for file in files]
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        diffs = [_diff(peer, document, migrations) for document in documents]
    if as_json:
        print_json({"catalogs": [message_to_json(each) for each in diffs]})
    else:
        print_human(*map(diff_view, diffs))
    if exit_code and any(each.changes for each in diffs):
        raise CommandNoError


@app.command()
def apply(
    files: FilesArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed in scripts")] = False,
    migration: MigrationOption = None,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Show what changes and who is affected, ask, and make the files the current versions."""
    migrations = parse_migrations(migration or ())
    documents = [read_document(file) for file in files]
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        diffs = [_diff(peer, document, migrations) for document in documents]
        if not as_json:
            print_human(*map(diff_view, diffs))
        if any(each.changes for each in diffs) and not yes:
            _confirm(as_json=as_json)
        applied: list[ApplyCatalogResponse] = []
        for document, reviewed in zip(documents, diffs, strict=True):
            try:
                response = _apply(peer, document, reviewed, migrations)
            except CommandError as error:
                raise _after(applied, error) from error
            applied.append(response)
            if not as_json and response.version != reviewed.current_version:
                print_human(f"{response.catalog}: version {response.version} is current")
    if as_json:
        print_json({"catalogs": [message_to_json(each) for each in applied]})


def _after(applied: Sequence[ApplyCatalogResponse], error: CommandError) -> CommandError:
    """Say which catalogs are applied already: each is an apply of its own."""
    if not applied:
        return error
    done = ", ".join(f"{each.catalog} is at version {each.version}" for each in applied)
    return CommandError(f"{error.message} (of the files before it, {done})", error.exit_code)


def _diff(
    peer: ControlPlane, document: DocumentText, migrations: Migrations
) -> DiffCatalogResponse:
    request = DiffCatalogRequest(
        document=document.text, source_name=document.source_name, **migrations._asdict()
    )
    return peer.call(peer.admin.DiffCatalog, request)


def _confirm(*, as_json: bool) -> None:
    """Return if the person at the terminal says yes."""
    if as_json or not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm: see `catalog diff`, then apply with --yes")
    if not typer.confirm("Apply?", err=True):
        raise CommandError("nothing was applied", ExitCode.NO)


def _apply(
    peer: ControlPlane,
    document: DocumentText,
    reviewed: DiffCatalogResponse,
    migrations: Migrations,
) -> ApplyCatalogResponse:
    request = ApplyCatalogRequest(
        document=document.text,
        source_name=document.source_name,
        expected_version=reviewed.current_version,
        **migrations._asdict(),
    )
    return peer.call(peer.admin.ApplyCatalog, request)


CatalogArgument = Annotated[str, typer.Argument(metavar="CATALOG", help="The catalog's id")]


@app.command()
def rollback(
    catalog: CatalogArgument,
    version: Annotated[
        int, typer.Argument(metavar="VERSION", help="Whose document is applied again")
    ],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed in scripts")] = False,
    migration: MigrationOption = None,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Apply an earlier version's document again, as a new version. Shows what changes, and asks."""
    migrations = parse_migrations(migration or ())
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        stored = peer.call(
            peer.admin.GetCatalog, GetCatalogRequest(catalog=catalog, version=version)
        )
        document = DocumentText(stored.document, f"version {version} of {catalog}")
        reviewed = _diff(peer, document, migrations)
        if not as_json:
            print_human(diff_view(reviewed))
        if reviewed.changes and not yes:
            _confirm(as_json=as_json)
        request = RollbackCatalogRequest(
            catalog=catalog,
            version=version,
            expected_version=reviewed.current_version,
            **migrations._asdict(),
        )
        response = peer.call(peer.admin.RollbackCatalog, request)
    if as_json:
        print_json(message_to_json(response))
    elif response.changes:
        print_human(f"{catalog}: version {response.version} is current, as version {version} was")


@app.command()
def history(
    catalog: CatalogArgument,
    *,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000)] = 20,
    page_token: Annotated[
        str, typer.Option("--page-token", help="Go on from there: printed where there are more")
    ] = "",
    changes: Annotated[
        bool, typer.Option("--changes", help="Say of each version what it changed; at most 100")
    ] = False,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """List the versions of a catalog, newest first, with the plan versions each made."""
    request = ListCatalogVersionsRequest(
        catalog=catalog, page_size=limit, page_token=page_token, with_changes=changes
    )
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.ListCatalogVersions, request)
    if as_json:
        print_json(message_to_json(response))
        return
    print_human(history_table(response.versions))
    if changes:
        print_human(*map(version_changes, response.versions))
    if response.next_page_token:
        print_human(f"There are more: --page-token {response.next_page_token}")


@app.command()
def show(
    catalog: CatalogArgument,
    *,
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", help="The current one if not given")
    ] = None,
    document: Annotated[
        bool, typer.Option("--document", help="Print the YAML as it was applied")
    ] = False,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Show a catalog: features, plans and add-ons."""
    request = GetCatalogRequest(catalog=catalog, version=version)
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.GetCatalog, request)
    if as_json:
        print_json(message_to_json(response))
    elif document:
        sys.stdout.write(response.document)
    else:
        print_human(catalog_view(response))


@app.command("list")
def list_catalogs(
    *,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """List the current version of every catalog."""
    with open_control_plane(control_plane, token_file, timeout_s) as peer:
        response = peer.call(peer.admin.ListCatalogs, ListCatalogsRequest())
    if as_json:
        print_json(message_to_json(response))
    else:
        print_human(catalogs_table(response.catalogs))
