"""Weighbridge: what an application installs. The client is `weighbridge.Client`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weighbridge.client import (
        Check,
        Client,
        Consumption,
        Decision,
        Entitlements,
        Gate,
        Reason,
        Receipt,
        RetryPolicy,
        SyncClient,
        WeighbridgeError,
        WeighbridgeMiddleware,
        header,
    )

__all__ = [
    "Check",
    "Client",
    "Consumption",
    "Decision",
    "Entitlements",
    "Gate",
    "Reason",
    "Receipt",
    "RetryPolicy",
    "SyncClient",
    "WeighbridgeError",
    "WeighbridgeMiddleware",
    "header",
]


def __getattr__(name: str) -> Any:
    """Import the client at first use, so that `weighbridge.rules` alone needs no gRPC."""
    if name in __all__:
        return getattr(importlib.import_module("weighbridge.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
