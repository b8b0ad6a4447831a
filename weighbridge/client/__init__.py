"""What applications use to ask the sidecar: `Client`, `SyncClient` and an ASGI middleware."""

from __future__ import annotations

from weighbridge.client.aio import Client
from weighbridge.client.asgi import WeighbridgeMiddleware
from weighbridge.client.errors import (
    KeyReusedError,
    OverloadedError,
    SidecarUnreachableError,
    UnexpectedStatusError,
)
from weighbridge.client.gates import Gate, HttpRefusal, header, refusal_of, unavailable
from weighbridge.client.holding import Hold, SyncHold
from weighbridge.client.metering import Meter, SyncMeter
from weighbridge.client.quoting import (
    CreditAmount,
    MoneyHold,
    Quote,
    QuotedItem,
    QuotedLine,
    QuoteItem,
)
from weighbridge.client.retry import RetryPolicy, WhenUnreachable
from weighbridge.client.sync import SyncClient
from weighbridge.client.values import (
    Check,
    Consumption,
    DecidedBy,
    Decision,
    Entitlements,
    FeatureEntitlement,
    IdempotencyScope,
    LimitUsage,
    MeterAnswer,
    MeterSignal,
    RateUsage,
    Receipt,
    Released,
    Reservation,
    Reserved,
    Settlement,
    SpendUsage,
    UpgradeHint,
)
from weighbridge.rules.decision import Reason
from weighbridge.rules.errors import InvalidArgumentError, WeighbridgeError

__all__ = [
    "Check",
    "Client",
    "Consumption",
    "CreditAmount",
    "DecidedBy",
    "Decision",
    "Entitlements",
    "FeatureEntitlement",
    "Gate",
    "Hold",
    "HttpRefusal",
    "IdempotencyScope",
    "InvalidArgumentError",
    "KeyReusedError",
    "LimitUsage",
    "Meter",
    "MeterAnswer",
    "MeterSignal",
    "MoneyHold",
    "OverloadedError",
    "Quote",
    "QuoteItem",
    "QuotedItem",
    "QuotedLine",
    "RateUsage",
    "Reason",
    "Receipt",
    "Released",
    "Reservation",
    "Reserved",
    "RetryPolicy",
    "Settlement",
    "SidecarUnreachableError",
    "SpendUsage",
    "SyncClient",
    "SyncHold",
    "SyncMeter",
    "UnexpectedStatusError",
    "UpgradeHint",
    "WeighbridgeError",
    "WeighbridgeMiddleware",
    "WhenUnreachable",
    "header",
    "refusal_of",
    "unavailable",
]
