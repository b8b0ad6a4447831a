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
    RateUsage,
    Receipt,
    UpgradeHint,
)
from weighbridge.rules.decision import Reason
from weighbridge.rules.errors import InvalidArgumentError, WeighbridgeError

__all__ = [
    "Check",
    "Client",
    "Consumption",
    "DecidedBy",
    "Decision",
    "Entitlements",
    "FeatureEntitlement",
    "Gate",
    "HttpRefusal",
    "IdempotencyScope",
    "InvalidArgumentError",
    "KeyReusedError",
    "LimitUsage",
    "OverloadedError",
    "RateUsage",
    "Reason",
    "Receipt",
    "RetryPolicy",
    "SidecarUnreachableError",
    "SyncClient",
    "UnexpectedStatusError",
    "UpgradeHint",
    "WeighbridgeError",
    "WeighbridgeMiddleware",
    "WhenUnreachable",
    "header",
    "refusal_of",
    "unavailable",
]
