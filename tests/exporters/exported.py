"""Exporters in a test: an environment with usage, a config as from a file, and a fake Stripe."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import yaml

from control_plane.exporters.config import ExporterConfig, read_exports
from control_plane.exporters.exporting import Exporter
from control_plane.exporters.items import Item, ItemState
from control_plane.exporters.queue import export_status, list_items
from control_plane.provisioning.external_ids import ExternalId, set_external_id
from control_plane.storage.database import Database
from tests.billed import Billed

T = TypeVar("T")

HOUR_MS = 3_600_000

CATALOG = """
catalog: api
features:
  calls: {type: metered, consistency: cached}
  tokens: {type: metered, consistency: cached}
plans:
  pro: {features: {calls: unlimited, tokens: unlimited}}
"""


class Exported(Billed):
    """Customers acme and beta, with usage to export."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database)
        self.folder = folder
        self.opened: list[Exporter] = []
        self.apply(CATALOG)
        for name in ("acme", "beta"):
            self.create(name, "pro")

    def call(self, system: str, **names: str) -> None:
        """Say what customers are called in a system."""
        for customer, name in names.items():
            self.write(lambda c, of=(customer, system, name): set_external_id(c, ExternalId(*of)))  # type: ignore[misc]

    def config(self, **exporter: Any) -> ExporterConfig:
        """Write a file with one exporter, secrets in files of their own, and read it."""
        for key in {"api_key", "client_secret", "secret"} & exporter.keys():
            path = self.folder / f"{key}.txt"
            path.write_text(exporter.pop(key), encoding="utf-8")
            path.chmod(0o600)
            exporter[f"{key}_file"] = str(path)
        made = {"id": "main", "from_start": True, "settle_after_s": 0, **exporter}
        path = self.folder / "exports.yaml"
        path.write_text(yaml.safe_dump({"exporters": [made]}), encoding="utf-8")
        (found,) = read_exports(path).exporters
        return found

    def exporter(self, config: ExporterConfig, owner: str = "one") -> Exporter:
        made = Exporter(config, self.database, owner, lambda: self.now_ms)
        self.opened.append(made)
        return made

    def close(self) -> None:
        for each in self.opened:
            each.close()
        self.database.close()

    def items(self, state: ItemState | None = None) -> list[Item]:
        with self.database.reading() as connection:
            return list_items(connection, "main", state, 1_000, 0)

    def counts(self) -> dict[str, int]:
        with self.database.reading() as connection:
            counts = export_status(connection, "main").counts
        return {state.value: count for state, count in counts.items() if count}


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)
