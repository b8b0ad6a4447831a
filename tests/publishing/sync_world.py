"""A sync service on a real server, and a client that speaks the wire by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from random import Random
from typing import Any

import grpc

from control_plane import provisioning
from control_plane.api.errors import ErrorInterceptor
from control_plane.api.sync_service import Intake, StreamTimes, SyncService
from control_plane.granting.desk import LeaseDesk
from control_plane.granting.granter import Granter
from control_plane.granting.rate_desk import RateDesk
from control_plane.granting.rate_serving import RateService
from control_plane.granting.serving import LeaseService
from control_plane.leasing.holding import LeaseTerms
from control_plane.metering.ingest import Settlement
from control_plane.metering.queue import IngestQueue
from control_plane.provisioning import CatalogLibrary, CatalogSource, NewCustomer
from control_plane.publishing.notices import ChangeNotices
from control_plane.publishing.publisher import Publisher
from control_plane.publishing.sessions import SessionRegistry
from control_plane.storage.database import Database
from weighbridge.rules.catalog import CustomerStatus
from weighbridge.runtime.clock import boot_ms
from weighbridge.v1 import sync_service_pb2 as pb
from weighbridge.v1 import sync_service_pb2_grpc

NOW_MS = 1_764_000_000_000
DEADLINE_S = 20.0
LEASE_TTL_MS = 60_000
LEASE_LOST_AFTER_MS = 600_000

CATALOG = """
catalog: api
features:
  api.calls: {type: metered}
  jobs: {type: metered}
plans:
  free:
    features:
      api.calls: {limits: [{limit: 100, window: month}]}
  pro:
    features:
      api.calls: {limits: [{limit: 100000, window: month}]}
      jobs: {limits: [{limit: 10, window: lifetime}]}
"""


class SyncWorld:
    """One control plane as its composition root builds it, with a clock the test sets."""

    def __init__(self, url: str, database: Callable[[str], Database] = Database) -> None:
        self.database = database(url)
        self.library = CatalogLibrary()
        self.notices = ChangeNotices()
        self.registry = SessionRegistry()
        self.now_ms = NOW_MS
        self.heartbeat_interval_ms = 60_000
        self.recall_ms = 250
        self.port = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._clients: list[SyncClient] = []

    async def start(self) -> None:
        self.database.migrate()
        self.apply(CATALOG)
        await self.serve()

    async def serve(self) -> None:
        def now_ms() -> int:
            return self.now_ms

        self.publisher = Publisher(self.database, self.library, self.notices, self.registry, now_ms)
        self.queue = IngestQueue(self.database, self.library, now_ms, Random(1))
        self.settlements: list[Settlement] = []
        self.queue.on_settled = self._settled
        self.desk = LeaseDesk(self.recall_ms)
        granter = Granter(Random(2), LeaseTerms(LEASE_TTL_MS, LEASE_LOST_AFTER_MS))
        self.leases = LeaseService(self.desk, granter, self.queue, boot_ms)
        self.rates = RateService(RateDesk(LEASE_TTL_MS), boot_ms)
        self.sync = SyncService(
            self.database,
            self.library,
            self.publisher,
            Intake(self.queue, self.leases, self.rates),
            now_ms,
            StreamTimes(self.heartbeat_interval_ms, LEASE_TTL_MS),
        )
        self._server = grpc.aio.server(interceptors=[ErrorInterceptor(lambda *_: None)])
        sync_service_pb2_grpc.add_SyncServiceServicer_to_server(self.sync, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self.publisher.start()
        self._tasks = [
            asyncio.create_task(self.publisher.run()),
            asyncio.create_task(self.queue.run()),
            asyncio.create_task(self.leases.run()),
            asyncio.create_task(self.rates.run()),
        ]
        await self._server.start()

    async def stop_serving(self) -> None:
        self.sync.stop()
        await self._server.stop(DEADLINE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.publisher.close()

    async def stop(self) -> None:
        for client in self._clients:
            await client.close()
        await self.stop_serving()
        self.database.close()

    async def connect(self, hello: pb.Hello) -> SyncClient:
        """Open a stream, say hello and read what comes first."""
        client = SyncClient(self.port)
        self._clients.append(client)
        await client.send(hello=hello)
        return client

    async def welcomed(self, hello: pb.Hello) -> SyncClient:
        client = await self.connect(hello)
        first = await client.read()
        assert first.WhichOneof("message") == "welcome", first
        return client

    def apply(self, text: str, *, is_noticed: bool = True) -> None:
        source = CatalogSource(text, "catalog.yaml")
        with self.database.writing() as c:
            provisioning.apply_catalog(c, self.library, source, None, self.now_ms)
        if is_noticed:
            self.notices.publish(catalogs=["api"])

    def create(self, *customers: str, plan: str = "pro", parent: str = "") -> None:
        for customer in customers:
            new = NewCustomer(customer, customer, "", (), plan, parent)
            with self.database.writing() as c:
                provisioning.create_customer(c, self.library, new, self.now_ms)
        self.notices.publish(customers)

    def subscribe(self, customer: str, plan: str, *, is_noticed: bool = True) -> None:
        wanted = provisioning.WantedSubscription(customer=customer, plan=plan)
        with self.database.writing() as c:
            provisioning.set_subscription(c, self.library, wanted, self.now_ms)
        if is_noticed:
            self.notices.publish([customer])

    def set_status(self, customer: str, status: CustomerStatus) -> None:
        with self.database.writing() as c:
            provisioning.set_customer_status(c, customer, status, self.now_ms)
        self.notices.publish([customer])

    async def published(self) -> None:
        """Wait until every change is in the outboxes of those who are connected."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                if self.publisher._revision >= self.revision():
                    return
                await asyncio.sleep(0.005)

    def version(self, customer: str) -> int:
        with self.database.reading() as c:
            return provisioning.get_customer(c, customer).customer.version

    def revision(self) -> int:
        with self.database.reading() as c:
            return provisioning.current_revision(c)

    def _settled(self, settlement: Settlement) -> None:
        self.settlements.append(settlement)
        self.publisher.usage_settled()


class SyncClient:
    """One stream. Everything read is kept in `received`."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        stub = sync_service_pb2_grpc.SyncServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._call: Any = stub.Sync()
        self.received: list[pb.SyncResponse] = []

    async def send(self, **message: Any) -> None:
        await self._call.write(pb.SyncRequest(**message))

    async def read(self) -> pb.SyncResponse:
        """Read the next message. Raises StreamEndedError saying how it ended."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise StreamEndedError(error.code(), error.details() or "") from None
        if message is grpc.aio.EOF:
            raise StreamEndedError(await self._call.code(), "")
        self.received.append(message)
        return message

    async def until(self, kind: str, **fields: Any) -> Any:
        """Read until a message of the kind with these fields; return its content."""
        while True:
            message = await self.read()
            if message.WhichOneof("message") == kind:
                content = getattr(message, kind)
                if all(getattr(content, name) == value for name, value in fields.items()):
                    return content

    async def complete(self) -> pb.InitialSnapshotComplete:
        return await self.until("initial_snapshot_complete")

    async def ended(self) -> StreamEndedError:
        """Read until the stream ends; return how."""
        while True:
            try:
                await self.read()
            except StreamEndedError as end:
                return end

    def kinds(self) -> list[str]:
        """Return the kinds of what was read after the welcome, without heartbeats."""
        kinds = [str(message.WhichOneof("message")) for message in self.received]
        return [kind for kind in kinds if kind not in ("welcome", "heartbeat")]

    def customers(self) -> list[str]:
        """Return the customers whose snapshots were read, in order."""
        return [m.customer.customer for m in self.received if m.HasField("customer")]

    async def close(self) -> None:
        self._call.cancel()
        with suppress(asyncio.CancelledError):
            await self._call.code()
        await self._channel.close()


class StreamEndedError(Exception):
    """The server ended the stream."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details


def hello(mode: str = "ALL", sidecar: str = "sc-1", epoch: str = "e1", **fields: Any) -> pb.Hello:
    number = pb.SubscriptionMode.Value(f"SUBSCRIPTION_MODE_{mode}")
    return pb.Hello(sidecar_id=sidecar, epoch=epoch, mode=number, **fields)


def held(**versions: int) -> list[pb.HeldVersion]:
    return [pb.HeldVersion(id=name, version=version) for name, version in versions.items()]


def entry(customer: str = "acme", amount: int = 1, **fields: Any) -> pb.UsageEntry:
    values: dict[str, Any] = {
        "customer": customer,
        "feature": "api.calls",
        "amount": amount,
        "occurred_at_unix_ms": NOW_MS,
        "kind": pb.USAGE_KIND_CONSUME,
        "calls": 1,
    }
    return pb.UsageEntry(**{**values, **fields})


def record(number: int, *entries: pb.UsageEntry, **fields: Any) -> pb.UsageRecord:
    digest = sha256(b"".join(e.SerializeToString(deterministic=True) for e in entries)).digest()
    values = {"sidecar_id": "sc-1", "epoch": "e1", "number": number, "digest": digest}
    return pb.UsageRecord(**{**values, **fields}, entries=entries)


def batch(*records: pb.UsageRecord) -> pb.UsageBatch:
    return pb.UsageBatch(records=records)


def totals_by_feature(totals: Iterable[pb.WindowTotal]) -> dict[str, int]:
    return {total.feature: total.total for total in totals}


def mark_of(marks: Iterable[pb.RecordMark], sidecar: str = "sc-1", epoch: str = "e1") -> int:
    return next(m.number for m in marks if (m.sidecar_id, m.epoch) == (sidecar, epoch))
