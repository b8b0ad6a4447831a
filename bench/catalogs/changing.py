"""How long a change takes from the administrator's call to the first answer under it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import grpc
from prometheus_client.parser import text_string_to_metric_families

from bench.administration import Administration
from bench.catalogs.population import (
    CUSTOMER_FEATURE,
    LIMIT,
    PLAN_FEATURE,
    catalog_text,
    customer_id,
)
from bench.failure import BenchError
from bench.processes import Sidecar, probe
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1.sidecar_service_pb2_grpc import SidecarServiceStub

POLL_S: Final = 0.002
CALL_S_MAX: Final = 30.0
CHECKS_AT_ONCE: Final = 500
_STRIDE: Final = 7_919
_WRITES: Final = "weighbridge_control_plane_database_seconds_sum"


class PlanChange(NamedTuple):
    """One apply, in ms: the call, the transaction in it, and until each sidecar enforced it."""

    call_ms: float
    transaction_ms: float
    enforced_ms: tuple[float, ...]


class Asking:
    """Connections to the sidecars; an async context."""

    def __init__(self, sidecars: Sequence[Sidecar]) -> None:
        self._channels = [grpc.aio.insecure_channel(each.address) for each in sidecars]
        self._stubs: list[Any] = [SidecarServiceStub(channel) for channel in self._channels]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for channel in self._channels:
            await channel.close()

    async def change_plan(
        self, administration: Administration, limit: int, customers: int, metrics_port: int
    ) -> PlanChange:
        """Apply a new limit of the plan; every sidecar is asked about another customer."""
        written_s = _written_s(metrics_port)
        began_s = time.perf_counter()
        watching = [
            asyncio.ensure_future(self._until(n, _some(limit + n, customers), limit, POLL_S))
            for n in range(len(self._stubs))
        ]
        await administration.apply_catalog(catalog_text(limit), "bench")
        call_s = time.perf_counter() - began_s
        enforced = [(at_s - began_s) * 1000 for at_s in await asyncio.gather(*watching)]
        transaction_s = _written_s(metrics_port) - written_s
        return PlanChange(call_s * 1000, transaction_s * 1000, tuple(enforced))

    async def change_customer(
        self, administration: Administration, number: int, customers: int
    ) -> float:
        """Override one customer's limit; return the ms until one sidecar enforced it."""
        customer, limit = _some(number, customers), LIMIT + 1 + number
        sidecar = number % len(self._stubs)
        began_s = time.perf_counter()
        watching = asyncio.ensure_future(
            self._until(sidecar, customer, limit, 0, feature=CUSTOMER_FEATURE)
        )
        await administration.set_limit(customer, CUSTOMER_FEATURE, limit)
        return (await watching - began_s) * 1000

    async def ask_all(self, customers: int) -> None:
        """Have the first sidecar work out what every customer has."""
        for first in range(0, customers, CHECKS_AT_ONCE):
            numbers = range(first, min(first + CHECKS_AT_ONCE, customers))
            checks = [
                pb.CheckRequest(customer=customer_id(n), feature=PLAN_FEATURE, amount=1)
                for n in numbers
            ]
            request = pb.BatchCheckRequest(checks=checks)
            answer = await self._stubs[0].BatchCheck(request, timeout=CALL_S_MAX)
            if not all(decision.allowed for decision in answer.decisions):
                raise BenchError(f"not everybody from {customer_id(first)} on is allowed")

    async def _until(
        self,
        sidecar: int,
        customer: str,
        limit: int,
        poll_s: float,
        *,
        feature: str = PLAN_FEATURE,
    ) -> float:
        """Ask until the limit is the new one; return when."""
        request = pb.CheckRequest(customer=customer, feature=feature, amount=1)
        deadline_s = time.perf_counter() + CALL_S_MAX
        while True:
            answer = await self._stubs[sidecar].Check(request, timeout=CALL_S_MAX)
            if answer.decision.limit == limit:
                return time.perf_counter()
            if time.perf_counter() > deadline_s:
                raise BenchError(
                    f"sidecar {sidecar} still has limit {answer.decision.limit:,} for {customer}, "
                    f"{CALL_S_MAX:g} s after it was set to {limit:,}"
                )
            await asyncio.sleep(poll_s)


def _some(number: int, customers: int) -> str:
    """Return a customer: another one for each number, all over."""
    return customer_id(number * _STRIDE % customers)


def _written_s(metrics_port: int) -> float:
    """Return the seconds that the control plane has spent in writing transactions."""
    _, text = probe(metrics_port, "/metrics")
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == _WRITES and sample.labels.get("purpose") == "write":
                return sample.value
    raise BenchError(f"the control plane has no {_WRITES} of writes")
