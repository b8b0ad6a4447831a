"""`weighbridge replay`: recorded usage through a draft catalog, and through the one before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

import typer

from weighbridge.cli import options
from weighbridge.cli import replay_options as given
from weighbridge.cli.catalog_file import compiled
from weighbridge.cli.connection import ControlPlane, open_control_plane
from weighbridge.cli.document_text import DocumentText, read_document
from weighbridge.cli.exit_codes import CommandError, ExitCode, UsageError
from weighbridge.cli.instants import parse_instant
from weighbridge.cli.output import print_human, print_json
from weighbridge.cli.replay_columns import (
    Cell,
    Columns,
    TimeUnit,
    parse_cell,
    parse_named_cells,
)
from weighbridge.cli.replay_csv import write_csv
from weighbridge.cli.replay_file import BadRow, UsageFile, usage_file
from weighbridge.cli.replay_view import Replayed, replay_to_json, replay_view
from weighbridge.replay.event import Event
from weighbridge.replay.replaying import Replay
from weighbridge.replay.simulation import Terms
from weighbridge.rules.catalog import Catalog, FeatureType
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.money import require_count
from weighbridge.rules.units import QUANTITY_MAX
from weighbridge.v1.admin_service_pb2 import GetCatalogRequest

app = typer.Typer(add_completion=False)


@app.command()
def replay(
    file: given.UsageArgument,
    *,
    catalog: given.CatalogOption,
    before: given.BeforeOption = None,
    live: given.LiveOption = False,
    customer: given.CustomerOption = "customer",
    when: given.TimeOption = "occurred_at",
    time_unit: given.TimeUnitOption = TimeUnit.AUTO,
    start: given.StartOption = "",
    feature: given.FeatureOption = "",
    amount: given.AmountOption = "=1",
    usage: given.UsageOption = None,
    dimension: given.DimensionOption = None,
    plan: given.PlanOption = "",
    plan_column: given.PlanColumnOption = "",
    anchor: given.AnchorOption = "",
    seats: given.SeatsOption = 1,
    currency: given.CurrencyOption = "",
    apart: given.ApartOption = False,
    skip_bad: given.SkipBadOption = False,
    csv: given.CsvOption = None,
    top: given.TopOption = 10,
    control_plane: options.ControlPlaneOption = options.DEFAULT_CONTROL_PLANE,
    token_file: options.TokenFileOption = options.DEFAULT_TOKEN_FILE,
    timeout_s: options.TimeoutOption = options.DEFAULT_TIMEOUT_S,
    as_json: options.JsonOption = False,
) -> None:
    """Replay recorded usage: who would be refused under a draft, and what it would cost them.

    Changes nothing, and needs no process but for --live.
    """
    if before is not None and live:
        raise UsageError("--before and --live: compare with one of them")
    draft = _compiled(read_document(catalog))
    old = None if before is None else _compiled(read_document(before))
    if live:
        with open_control_plane(control_plane, token_file, timeout_s) as peer:
            old = _current(peer, draft.id)
    catalogs = [draft] if old is None else [old, draft]
    columns = Columns(
        customer=parse_cell(customer),
        plan=_plan(plan, plan_column),
        time=parse_cell(when),
        time_unit=time_unit,
        start_ms=parse_instant(start) if start else None,
        usage=parse_named_cells("--usage", usage or ()),
        feature=parse_cell(feature) if feature else None,
        amount=parse_cell(amount),
        dimensions=parse_named_cells("--dimension", dimension or ()),
        counted=_counted(catalogs),
        released=_released(catalogs),
    )
    _require_features(columns, catalogs)
    terms = Terms(parse_instant(anchor) if anchor else None, _seats(seats), currency, apart)
    result = _run(usage_file(file), columns, _started(draft, old, terms), skip_bad)
    if csv is not None:
        write_csv(csv, result.report)
    _tell(result, top, as_json)


def _tell(result: Replayed, top: int, as_json: bool) -> None:
    if as_json:
        print_json(replay_to_json(result))
    else:
        print_human(*replay_view(result, top))


def _current(peer: ControlPlane, catalog: str) -> Catalog:
    stored = peer.call(peer.admin.GetCatalog, GetCatalogRequest(catalog=catalog))
    name = f"version {stored.summary.version} of {catalog}"
    return _compiled(DocumentText(stored.document, name))


def _compiled(document: DocumentText) -> Catalog:
    try:
        return compiled(document)
    except InvalidArgumentError as error:
        raise CommandError(str(error), ExitCode.INVALID) from error


def _plan(plan: str, column: str) -> Cell:
    if bool(plan) == bool(column):
        raise UsageError("say --plan PLAN, or --plan-column COLUMN")
    return Cell(column, plan)


def _seats(seats: int) -> int:
    try:
        return require_count("--seats", seats, 1, QUANTITY_MAX)
    except InvalidArgumentError as error:
        raise UsageError(str(error)) from error


def _counted(catalogs: Iterable[Catalog]) -> frozenset[str]:
    """Return the features that take a number in one of the catalogs."""
    numbers = {FeatureType.METERED, FeatureType.NUMBER}
    return frozenset(
        id_ for each in catalogs for id_, of in each.features.items() if of.type in numbers
    )


def _released(catalogs: Iterable[Catalog]) -> frozenset[str]:
    return frozenset(id_ for c in catalogs for id_, of in c.features.items() if of.is_allocation)


def _require_features(columns: Columns, catalogs: Iterable[Catalog]) -> None:
    if bool(columns.usage) == (columns.feature is not None):
        raise UsageError("say --feature, or --usage for each feature of a row")
    named = [*columns.usage]
    if columns.feature is not None and not columns.feature.column:
        named.append(columns.feature.constant)
    known = {id_ for each in catalogs for id_ in each.features}
    for id_ in named:
        if id_ not in known:
            raise UsageError(f"{id_!r} is no feature; the catalog has {', '.join(sorted(known))}")


def _started(draft: Catalog, before: Catalog | None, terms: Terms) -> Replay:
    try:
        return Replay(draft, before, terms)
    except InvalidArgumentError as error:
        raise CommandError(str(error), ExitCode.INVALID) from error


def _run(file: UsageFile, columns: Columns, running: Replay, skip_bad: bool) -> Replayed:
    """Replay every row. Raises CommandError at the first that cannot be read, unless skipped."""
    began_s = time.perf_counter()
    skipped, first = 0, ""
    read = columns.reader()
    for number, row in file.rows(columns.required()):
        problem = _problem_of(row, read, running)
        if problem:
            message = f"{file.place(number)}: {problem}"
            if not skip_bad:
                raise CommandError(message, ExitCode.INVALID)
            skipped, first = skipped + 1, first or message
    report = running.finish()
    if not report.events:
        raise CommandError(f"{file.path}: no usage in it", ExitCode.INVALID)
    return Replayed(report, time.perf_counter() - began_s, skipped, first)


def _problem_of(
    row: Mapping[str, str] | BadRow, read: Callable[[Mapping[str, str]], Event], running: Replay
) -> str:
    """Take a row; return what is wrong with it, "" where nothing is."""
    if isinstance(row, BadRow):
        return row.problem
    try:
        running.take(read(row))
    except InvalidArgumentError as error:
        return str(error)
    return ""
