"""How channels to the sidecar are set up."""

from __future__ import annotations

from typing import Final

CHANNEL_OPTIONS: Final = (
    # The sidecar is on this machine: never by way of a proxy that the environment names.
    ("grpc.enable_http_proxy", 0),
    # gRPC refuses calls at once while it waits to connect again, by default for a second and up
    # to two minutes. A sidecar that restarts is back sooner, and asking localhost costs nothing.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Clients of one address share no connection, so that closing or failing stays their own.
    ("grpc.use_local_subchannel_pool", 1),
)
