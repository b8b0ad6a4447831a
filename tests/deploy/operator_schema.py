"""The part of the Prometheus operator's resources that deploy/ uses; nothing else is let through.

No package carries the schemas of its custom resources, so what is used of them is written down
here, after the operator's API reference (monitoring.coreos.com/v1).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Duration = Field(pattern=r"^(\d+(ms|s|m|h|d))+$")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Metadata(_Strict):
    name: str
    namespace: str
    labels: dict[str, str]


class Selector(_Strict):
    match_labels: dict[str, str]


class NamespaceSelector(_Strict):
    any: bool


class Endpoint(_Strict):
    port: str
    path: str
    interval: str = Duration


class ServiceMonitorSpec(_Strict):
    selector: Selector
    endpoints: list[Endpoint]


class PodMonitorSpec(_Strict):
    namespace_selector: NamespaceSelector
    selector: Selector
    pod_metrics_endpoints: list[Endpoint]


_SPECS: dict[str, type[BaseModel]] = {
    "ServiceMonitor": ServiceMonitorSpec,
    "PodMonitor": PodMonitorSpec,
}


class Resource(_Strict):
    api_version: Literal["monitoring.coreos.com/v1"]
    kind: Literal["ServiceMonitor", "PodMonitor"]
    metadata: Metadata
    spec: dict[str, Any]


def validate(document: dict[str, Any]) -> None:
    """Raise pydantic's ValidationError naming the field that is not known or not right."""
    resource = Resource.model_validate(document)
    _SPECS[resource.kind].model_validate(resource.spec)
