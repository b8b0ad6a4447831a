"""A file of usage: read and checked whole first, then reported with several calls under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from weighbridge.cli.connection import Sidecar
from weighbridge.cli.csv_file import Line, number_of, read_lines
from weighbridge.cli.exit_codes import CommandError, ExitCode, UsageError
from weighbridge.cli.instants import parse_instant
from weighbridge.v1.sidecar_service_pb2 import ReportRequest, ReportResponse

_REQUIRED: Final = ("customer", "feature")
_OPTIONAL: Final = ("amount", "resource", "idempotency_key", "occurred_at")
_DIMENSION: Final = "dimension."

FILE_HELP: Final = (
    f"CSV with a header, - for stdin: {', '.join(_REQUIRED)}; optional {', '.join(_OPTIONAL)}, "
    f"{_DIMENSION}NAME"
)

# Calls under way at once: enough to hide the round trip, few beside the sidecar's own bounds.
_UNDER_WAY: Final = 32


@dataclass(slots=True)
class Sent:
    """What was recorded."""

    lines: int = 0
    replayed: int = 0
    amount: int = 0


def read_reports(file: Path, key_prefix: str) -> list[tuple[str, ReportRequest]]:
    """Return every row as a request, with its place. Raises CommandError; nothing is sent yet."""
    lines = read_lines(file, _REQUIRED, _OPTIONAL, _DIMENSION)
    return [(line.place, _request(line, key_prefix)) for line in lines]


def _request(line: Line, key_prefix: str) -> ReportRequest:
    cells = line.cells
    key = cells.get("idempotency_key", "")
    if not key and key_prefix:
        key = f"{key_prefix}:{line.number}"
    try:
        return ReportRequest(
            customer=cells.get("customer", ""),
            feature=cells.get("feature", ""),
            resource=cells.get("resource", ""),
            amount=number_of(line, "amount"),
            idempotency_key=key,
            occurred_at_unix_ms=_instant(line),
            dimensions={
                name.removeprefix(_DIMENSION): value
                for name, value in cells.items()
                if name.startswith(_DIMENSION)
            },
        )
    except ValueError as error:
        raise CommandError(f"{line.place}: {error}", ExitCode.INVALID) from error


def _instant(line: Line) -> int | None:
    text = line.cells.get("occurred_at", "")
    if not text:
        return None
    try:
        return parse_instant(text)
    except UsageError as error:
        place = f"{line.place}: occurred_at"
        raise CommandError(f"{place}: {error.message}", ExitCode.INVALID) from error


def send_reports(
    peer: Sidecar, requests: Iterable[tuple[str, ReportRequest]], advance: Callable[[], None]
) -> Sent:
    """Report all, stopping at the first that fails. Raises CommandError naming its line."""
    sent = Sent()
    under_way: deque[tuple[str, grpc.Future[ReportResponse]]] = deque()
    for place, request in requests:
        if len(under_way) >= _UNDER_WAY:
            _settle(peer, under_way, sent)
            advance()
        call = peer.service.Report.future(request, timeout=peer.timeout_s)
        under_way.append((place, call))
    while under_way:
        _settle(peer, under_way, sent)
        advance()
    return sent


def _settle(
    peer: Sidecar, under_way: deque[tuple[str, grpc.Future[ReportResponse]]], sent: Sent
) -> None:
    place, call = under_way.popleft()
    try:
        response = call.result()
    except grpc.RpcError as error:
        recorded = sent.lines + sum(_was_recorded(later) for _, later in under_way)
        failure = peer.explain(error)
        raise CommandError(
            f"{place}: {failure.message}; {recorded} lines were recorded, "
            "use --key-prefix to send a file again",
            failure.exit_code,
        ) from error
    sent.lines += 1
    sent.replayed += response.replayed
    sent.amount += response.receipt.amount


def _was_recorded(call: grpc.Future[ReportResponse]) -> bool:
    """Wait for a call that was already under way when another failed."""
    return call.exception() is None
