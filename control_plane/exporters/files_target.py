"""Files: each batch is one, named by its number and written whole or not at all.

A batch that is written again after a crash is the same file with the same content.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from control_plane.exporters.config import FilesExporter, ZuoraMeter
from control_plane.exporters.instants import iso_instant, us_date
from control_plane.exporters.items import SENT, Item, ItemState, Outcome

COLUMNS: Final = (
    "identifier",
    "meter",
    "customer",
    "resource",
    "dimensions",
    "window_start",
    "window_end",
    "quantity",
)
ZUORA_COLUMNS: Final = (
    "ACCOUNT_ID",
    "UOM",
    "QTY",
    "STARTDATE",
    "ENDDATE",
    "SUBSCRIPTION_ID",
    "CHARGE_ID",
    "DESCRIPTION",
)


class FilesTarget:
    """Writes batches into a folder."""

    takes_negative = True
    window_of_doubt_ms: int | None = None

    def __init__(self, config: FilesExporter) -> None:
        self._config = config
        self._meters: dict[str, ZuoraMeter] = {meter.key: meter for meter in config.meters}
        # An import into Zuora is by its account numbers.
        self.system = "zuora" if config.format == "zuora_csv" else ""

    def send(self, items: Sequence[Item]) -> Mapping[int, Outcome]:
        """Write one file."""
        try:
            self._write(items)
        except OSError as error:
            failed = Outcome(ItemState.PENDING, f"cannot write: {error.strerror or error}")
            return {item.id: failed for item in items}
        return {item.id: SENT for item in items}

    def close(self) -> None:
        """There is nothing to let go."""

    def path(self, batch: int) -> Path:
        """Return the file of a batch."""
        suffix = "parquet" if self._config.format == "parquet" else "csv"
        return self._config.folder / f"{self._config.id}-{batch:010}.{suffix}"

    def _write(self, items: Sequence[Item]) -> None:
        match self._config.format:
            case "parquet":
                content = _parquet(items)
            case "zuora_csv":
                rows = [self._zuora_row(item) for item in items]
                content = _csv(ZUORA_COLUMNS, rows)
            case _:
                content = _csv(COLUMNS, [_row(item) for item in items])
        write_whole(self.path(items[0].batch), content)

    def _zuora_row(self, item: Item) -> tuple[object, ...]:
        meter = self._meters[item.meter]
        return (
            item.external,
            meter.unit,
            item.quantity,
            us_date(item.window_start_ms),
            us_date(item.window_end_ms - 1),
            meter.subscription,
            meter.charge,
            item.identifier,
        )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there with all its content, or not at all, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _row(item: Item) -> tuple[object, ...]:
    dimensions = ";".join(f"{name}={value}" for name, value in item.dimensions)
    return (
        item.identifier,
        item.meter,
        item.customer,
        item.resource,
        dimensions,
        iso_instant(item.window_start_ms),
        iso_instant(item.window_end_ms),
        item.quantity,
    )


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def _parquet(items: Sequence[Item]) -> bytes:
    # Only where it is asked for: it takes a while to import.
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    rows = [_row(item) for item in items]
    instants = pa.timestamp("ms", tz="UTC")
    columns: dict[str, Any] = {
        name: pa.array([row[at] for row in rows], pa.string())
        for at, name in enumerate(COLUMNS[:5])
    }
    columns["window_start"] = pa.array([item.window_start_ms for item in items], instants)
    columns["window_end"] = pa.array([item.window_end_ms for item in items], instants)
    columns["quantity"] = pa.array([item.quantity for item in items], pa.int64())
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())
