"""The control plane's admin service, as an operator's program would use it."""

from __future__ import annotations

import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import grpc
from tour_steps import Subscriber

from weighbridge.v1.admin_service_pb2 import (
    ApplyCatalogRequest,
    ApplyCatalogResponse,
    CreateCustomerRequest,
    DiffCatalogRequest,
    DiffCatalogResponse,
    QueryUsageRequest,
    SetSubscriptionRequest,
)
from weighbridge.v1.admin_service_pb2_grpc import AdminServiceStub
from weighbridge.v1.billing_service_pb2 import GetStatementRequest
from weighbridge.v1.billing_service_pb2_grpc import BillingServiceStub
from weighbridge.v1.credit_service_pb2 import GetBalancesRequest, GrantCreditsRequest
from weighbridge.v1.credit_service_pb2_grpc import CreditServiceStub
from weighbridge.v1.integration_service_pb2 import RunExporterRequest
from weighbridge.v1.integration_service_pb2_grpc import IntegrationServiceStub
from weighbridge.v1.sync_service_pb2 import SubscribedAddOn
from weighbridge.v1.types_pb2 import CREDIT_GRANT_KIND_PREPAID

CALL_S: Final = 10.0
USAGE_WAIT_S: Final = 15.0
POLL_S: Final = 0.02
MICRO: Final = 1_000_000
DAY_MS: Final = 86_400_000

Usage = Counter[tuple[str, str]]


class ControlPlane:
    """What the tour asks of it."""

    def __init__(self, address: str, token_file: Path) -> None:
        token = token_file.read_text(encoding="ascii").strip()
        self._options: dict[str, Any] = {
            "metadata": (("authorization", f"Bearer {token}"),),
            "timeout": CALL_S,
        }
        self._channel = grpc.insecure_channel(address)
        self._admin = AdminServiceStub(self._channel)
        self._credits = CreditServiceStub(self._channel)
        self._billing = BillingServiceStub(self._channel)
        self._integrations = IntegrationServiceStub(self._channel)

    def create(self, subscriber: Subscriber) -> None:
        """Make the customer and put it on its plan."""
        request = CreateCustomerRequest(id=subscriber.customer, catalog=subscriber.catalog)
        self._admin.CreateCustomer(request, **self._options)
        self.subscribe(subscriber)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Put the customer on its plan, in place of the plan it is on."""
        add_ons = [
            SubscribedAddOn(add_on=add_on, quantity=quantity)
            for add_on, quantity in subscriber.add_ons.items()
        ]
        request = SetSubscriptionRequest(
            customer=subscriber.customer,
            plan=subscriber.plan,
            add_ons=add_ons,
            quantity=subscriber.seats,
        )
        self._admin.SetSubscription(request, **self._options)

    def grant(self, customer: str, key: str, credits_: int) -> None:
        """Grant prepaid credits of the one credit type that the examples have."""
        request = GrantCreditsRequest(
            customer=customer,
            credit_type="api",
            key=key,
            kind=CREDIT_GRANT_KIND_PREPAID,
            amount_micro=credits_ * MICRO,
        )
        self._credits.GrantCredits(request, **self._options)

    def balance(self, customer: str) -> tuple[float, float, float]:
        """Return a customer's available, reserved and settled credits."""
        response = self._credits.GetBalances(GetBalancesRequest(customer=customer), **self._options)
        [balance] = response.balances
        return (
            balance.available_micro / MICRO,
            balance.reserved_micro / MICRO,
            balance.settled_micro / MICRO,
        )

    def statement_total(self, customer: str) -> str:
        """Return what a customer owes in USD for the billing periods that began since yesterday."""
        now_ms = time.time_ns() // 1_000_000
        request = GetStatementRequest(
            customer=customer,
            from_unix_ms=now_ms - DAY_MS,
            to_unix_ms=now_ms + DAY_MS,
            currency="USD",
        )
        response = self._billing.GetStatement(request, **self._options)
        return f"{Decimal(response.statement.total_minor).scaleb(-2)}"

    def export(self, exporter: str) -> int:
        """Send usage now, of windows that have not ended too; returns how many items it was."""
        request = RunExporterRequest(exporter=exporter, include_open=True)
        return self._integrations.RunExporter(request, **self._options).items_sent

    def diff(self, document: str) -> DiffCatalogResponse:
        """Return what a catalog document would change, and for whom."""
        request = DiffCatalogRequest(document=document, source_name="the tour's change")
        return self._admin.DiffCatalog(request, **self._options)

    def apply(self, document: str, reviewed: DiffCatalogResponse) -> ApplyCatalogResponse:
        """Make a document current, unless the catalog is another than was reviewed."""
        request = ApplyCatalogRequest(
            document=document,
            source_name="the tour's change",
            expected_version=reviewed.current_version,
        )
        return self._admin.ApplyCatalog(request, **self._options)

    def wait_for_usage(self, expected: Usage) -> Usage:
        """Return the units settled by customer and feature: as expected, or what was there last."""
        deadline_s = time.monotonic() + USAGE_WAIT_S
        while True:
            response = self._admin.QueryUsage(QueryUsageRequest(), **self._options)
            usage = Usage({(row.customer, row.feature): row.amount for row in response.rows})
            if usage == expected or time.monotonic() > deadline_s:
                return usage
            time.sleep(POLL_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()
