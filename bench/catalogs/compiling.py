"""How many customer snapshots one thread compiles in a second of its CPU time, on either side."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from bench.catalogs.population import CATALOG, customer_id
from bench.failure import BenchError
from control_plane.metering.records import EpochKey
from control_plane.provisioning import CatalogLibrary
from control_plane.publishing.delivery import CUSTOMERS_PER_LOAD, WholeCustomer
from control_plane.publishing.loading import SnapshotReader as SnapshotLoading
from control_plane.storage.database import Database
from control_plane.wire.publishing import delivery_to_proto
from sidecar.core.snapshots import Mode, SnapshotCache
from sidecar.wire.snapshot import SnapshotReader
from weighbridge.rules.granting import Grant
from weighbridge.v1 import sync_service_pb2 as pb

SNAPSHOTS_MAX: Final = 20_000
_EPOCHS: Final = (EpochKey("bench", "bench"),)


class Compiled(NamedTuple):
    """Distinct snapshots, and how many a second each side compiles."""

    snapshots: int
    loaded_per_s: float
    granted_per_s: float


def measure_compiling(url: str, customers: int, now_ms: int) -> Compiled:
    """Load customers as the stream does, to bytes; then read them as a sidecar does, to grants."""
    count = min(customers, SNAPSHOTS_MAX)
    database = Database(url)
    try:
        library = CatalogLibrary()
        reader = SnapshotLoading(library, lambda: now_ms)
        messages: list[bytes] = []
        with database.reading() as connection:
            catalog = delivery_to_proto(library.load(connection, CATALOG))
            started_s = time.process_time()
            for first in range(0, count, CUSTOMERS_PER_LOAD):
                numbers = range(first, min(first + CUSTOMERS_PER_LOAD, count))
                loaded = reader.load(connection, map(customer_id, numbers), _EPOCHS)
                messages += [
                    delivery_to_proto(WholeCustomer(*found, ())).SerializeToString()
                    for found in loaded.customers.values()
                ]
            loaded_s = time.process_time() - started_s
    finally:
        database.close()
    if len(set(messages)) != count:
        raise BenchError(f"{count:,} customers made {len(set(messages)):,} distinct snapshots")
    return Compiled(count, count / loaded_s, count / _granting_s(catalog, messages, now_ms))


def _granting_s(catalog: pb.SyncResponse, messages: list[bytes], now_ms: int) -> float:
    reader = SnapshotReader()
    cache = SnapshotCache(Mode.ALL, 0, frozenset())
    cache.apply_catalog(reader.catalog_from_proto(catalog.catalog))
    compiler = cache.compiler(CATALOG)
    assert compiler is not None
    started_s = time.process_time()
    for message in messages:
        customer = reader.customer_from_proto(pb.SyncResponse.FromString(message).customer)
        cache.apply_customer(customer)
        state = cache.find(customer.id)
        if state is None or not isinstance(state.grant(compiler, "", now_ms), Grant):
            raise BenchError(f"{customer.id} is granted nothing")
    return time.process_time() - started_s
