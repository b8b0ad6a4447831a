"""Which exporters there are: one YAML file, checked before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from control_plane.config_file import read_config

KINDS: Final = frozenset({"stripe", "zuora", "files", "webhook"})

Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$")]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=2_000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeterPart(_Part):
    """A feature that is exported; of its usage, what has the dimensions in `match`."""

    feature: Name
    match: dict[Name, str] = {}

    @property
    def key(self) -> str:
        """What totals and items call it."""
        match = ",".join(f"{name}={value}" for name, value in sorted(self.match.items()))
        return f"{self.feature}{{{match}}}" if match else self.feature


class StripeMeter(MeterPart):
    """A meter of Stripe: the events of this name."""

    event_name: Name
    value_key: Name = "value"
    customer_key: Name = "stripe_customer_id"


class ZuoraMeter(MeterPart):
    """A unit of measure of Zuora."""

    unit: Name
    subscription: str = ""
    charge: str = ""


class _Exporter(_Part):
    id: Id
    window: Literal["hour", "day"] = "hour"
    """Usage is summed by these (UTC)."""
    settle_after_s: Annotated[int, Field(ge=0, le=86_400)] = 300
    """How long after a window's end it is sent; usage that comes later is an adjustment."""
    from_start: bool = False
    """Whether to begin with the oldest event; else with what is settled from now on."""
    dimensions: tuple[Name, ...] = ()
    """Dimensions that are told apart."""
    attempts_max: Annotated[int, Field(ge=1, le=1_000)] = 50
    requests_per_second_max: Annotated[float, Field(gt=0, le=1_000)] = 50
    batch_max: Annotated[int, Field(ge=1, le=10_000)] = 500
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 20

    @property
    def meter_parts(self) -> tuple[MeterPart, ...]:
        """The features that are exported; none: every metered one."""
        return ()


class StripeExporter(_Exporter):
    """Billing meter events, by Stripe's own package."""

    kind: Literal["stripe"]
    api_key_file: Path
    meters: tuple[StripeMeter, ...] = Field(min_length=1)
    base_url: Url = "https://api.stripe.com"

    @property
    def meter_parts(self) -> tuple[MeterPart, ...]:
        return self.meters


class ZuoraExporter(_Exporter):
    """Usage records, by Zuora's REST API."""

    kind: Literal["zuora"]
    base_url: Url
    client_id: Name
    client_secret_file: Path
    meters: tuple[ZuoraMeter, ...] = Field(min_length=1)

    @property
    def meter_parts(self) -> tuple[MeterPart, ...]:
        return self.meters


class FilesExporter(_Exporter):
    """Files in a folder; `zuora_csv` is what Zuora imports, which needs `meters` with units."""

    kind: Literal["files"]
    folder: Path
    format: Literal["csv", "parquet", "zuora_csv"] = "csv"
    meters: tuple[ZuoraMeter, ...] = ()

    @model_validator(mode="after")
    def _needs_units(self) -> Self:
        if bool(self.meters) != (self.format == "zuora_csv"):
            raise ValueError("meters: are for format zuora_csv, which needs them")
        return self

    @property
    def meter_parts(self) -> tuple[MeterPart, ...]:
        return self.meters


class WebhookExporter(_Exporter):
    """A signed request (Standard Webhooks) for each batch."""

    kind: Literal["webhook"]
    url: Url
    secret_file: Path
    meters: tuple[MeterPart, ...] = ()

    @property
    def meter_parts(self) -> tuple[MeterPart, ...]:
        return self.meters


ExporterConfig = Annotated[
    StripeExporter | ZuoraExporter | FilesExporter | WebhookExporter, Field(discriminator="kind")
]


class ExportsConfig(_Part):
    """All exporters of a control plane."""

    exporters: tuple[ExporterConfig, ...] = ()

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        ids = [each.id for each in self.exporters]
        for position, id_ in enumerate(ids):
            if id_ in ids[:position]:
                raise ValueError(f"exporters[{position}].id: {id_!r} is there twice")
        return self


def read_exports(path: Path) -> ExportsConfig:
    """Read the file. Raises InvalidArgumentError that names the file and the key."""
    return read_config(path, ExportsConfig, tags=KINDS)
