"""What those who run a sidecar ask it: probes over HTTP and gRPC, and its metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from sidecar.metrics.collector import SidecarCollector, Sources
from sidecar.settings import Settings
from sidecar.transport.health import HealthPort
from weighbridge.runtime.probes import ProbeServer


class Probes:
    """Answers from `start` to `stop`. `problems` says what is in the way of being ready."""

    def __init__(
        self, settings: Settings, sources: Sources, problems: Callable[[], list[str]]
    ) -> None:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        registry.register(SidecarCollector(sources))
        host, _, port = settings.probe_listen.rpartition(":")
        self._http = ProbeServer(host.strip("[]"), int(port), problems, registry)
        self._health = HealthPort(settings.health_listen) if settings.health_listen else None
        self._is_ready = False

    @property
    def addresses(self) -> dict[str, str]:
        """Where they listen, by setting: ports may have been chosen by the system."""
        addresses = {"probe_listen": f"{self._http.host}:{self._http.port}"}
        if self._health is not None:
            addresses["health_listen"] = self._health.address
        return addresses

    async def start(self) -> None:
        """Listen. Raises FailedPreconditionError where an address cannot be had."""
        self._http.start()
        if self._health is not None:
            await self._health.start()

    async def set_ready(self, *, is_ready: bool) -> None:
        """Tell gRPC probes; those over HTTP ask for themselves."""
        if self._health is not None and is_ready is not self._is_ready:
            self._is_ready = is_ready
            await self._health.set_ready(is_ready=is_ready)

    async def stop(self) -> None:
        """Stop listening."""
        self._http.stop()
        if self._health is not None:
            await self._health.stop()
