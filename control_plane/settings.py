"""The control plane's settings: one frozen value, from the environment, checked at the start.

Every setting is an environment variable `WEIGHBRIDGE_CONTROL_PLANE_` + the field's name in
capitals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from weighbridge.rules.errors import InvalidArgumentError

PREFIX: Final = "WEIGHBRIDGE_CONTROL_PLANE_"
PORT_MAX: Final = 65_535

_DATABASE_DRIVERS: Final = frozenset({"sqlite", "postgresql", "postgresql+psycopg", "postgres"})
_DATABASE_EXAMPLES: Final = "sqlite:////var/lib/weighbridge.db or postgresql://user:...@host/name"

# Kubernetes gives every pod such variables of each service; ours may well be named so.
_OF_A_SERVICE: Final = re.compile(r"SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?")


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int


def _require_address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > PORT_MAX:
        raise ValueError(f"{text!r} is not host:port")
    return text


def _require_database(url: str) -> str:
    if not url:
        return url
    try:
        driver = make_url(url).drivername
    except (ArgumentError, ValueError) as error:
        # Not quoted: it may hold a password.
        raise ValueError(f"is not a database URL, such as {_DATABASE_EXAMPLES}") from error
    if driver not in _DATABASE_DRIVERS:
        raise ValueError(f"{driver} is not supported; use {_DATABASE_EXAMPLES}")
    return url


def _require_optional_address(text: str) -> str:
    return _require_address(text) if text else text


AddressText = Annotated[str, AfterValidator(_require_address)]
OptionalAddressText = Annotated[str, AfterValidator(_require_optional_address)]


class Settings(BaseModel):
    """All settings with their defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = Path("weighbridge-data")
    """Where the token files lie, and a SQLite database. One control plane per directory."""
    # Not in the representation: it may hold a password.
    database_url: Annotated[str, AfterValidator(_require_database), Field(repr=False)] = ""
    """SQLite or PostgreSQL. Empty: SQLite, `control-plane.db` in the data directory."""
    listen: AddressText = "127.0.0.1:7710"
    """Where administration and sidecars connect; port 0 takes a free one."""
    probe_listen: AddressText = "127.0.0.1:7711"
    """Where /livez, /readyz and /metrics listen."""
    admin_token_file: Path | None = None
    """File with the token for administration. Unset: `admin.token` in the data directory."""
    sync_token_file: Path | None = None
    """File with the token for sidecars. Unset: `sync.token` in the data directory."""
    heartbeat_interval_ms: Annotated[int, Field(ge=100, le=60_000)] = 2_000
    """Silence after which a heartbeat is sent on a sidecar's stream."""
    lease_ttl_ms: Annotated[int, Field(ge=1_000, le=3_600_000)] = 60_000
    """How long leases may be spent after a sidecar's heartbeat; a few heartbeats at least."""
    lease_lost_after_ms: Annotated[int, Field(ge=1_000, le=86_400_000)] = 600_000
    """When leases of a sidecar that stays away count as spent, after they were suspended."""
    lease_recall_ms: Annotated[int, Field(ge=0, le=10_000)] = 250
    """How long units are waited for that other sidecars are asked for, before a refusal."""
    lease_check_interval_s: Annotated[float, Field(ge=0.1, le=86_400)] = 30.0
    """How often all pools are checked for units that were made or lost."""
    webhook_timeout_s: Annotated[float, Field(ge=0.1, le=120)] = 10.0
    """How long an endpoint may take to answer."""
    webhook_backoff_ms_min: Annotated[int, Field(ge=10, le=3_600_000)] = 5_000
    """How long to wait after the first failure; then twice as long each time."""
    webhook_backoff_ms_max: Annotated[int, Field(ge=10, le=86_400_000)] = 3_600_000
    """The longest wait between tries."""
    top_up_provider: Literal["webhook", "http", "none"] = "webhook"
    """Who has top-up orders paid: webhook endpoints, an HTTP provider, or nobody: none is made."""
    top_up_url: str = ""
    """Where the HTTP provider is asked: https, or http to a loopback address."""
    top_up_secret_file: Path | None = None
    """File with the secret (whsec_...) that questions to the HTTP provider are signed with."""
    top_up_timeout_s: Annotated[float, Field(ge=0.1, le=300)] = 30.0
    """How long the HTTP provider may take to answer; it is asked again under the same key."""
    http_listen: OptionalAddressText = ""
    """Where JSON and CloudEvents are taken over HTTP, see docs/http.md. Empty: nowhere."""
    exports_file: Path | None = None
    """File that says where usage is exported to, see docs/exports.md. Unset: nowhere."""
    imports_file: Path | None = None
    """File that says what prices of Stripe mean here, see docs/imports.md. Unset: none do."""
    stop_grace_s: Annotated[float, Field(ge=0, le=600)] = 10.0
    """How long a stop may take to answer open calls."""
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    log_format: Literal["json", "console"] = "json"
    """json, or console for people."""

    @model_validator(mode="after")
    def _require_two_tokens(self) -> Self:
        if self.admin_token_path == self.sync_token_path:
            raise ValueError("admin_token_file and sync_token_file are the same file; use two")
        return self

    @model_validator(mode="after")
    def _require_http(self) -> Self:
        if self.imports_file is not None and not self.http_listen:
            raise ValueError("imports_file: imports come over HTTP; set http_listen too")
        return self

    @property
    def effective_database_url(self) -> str:
        """The database, the default one included."""
        return self.database_url or f"sqlite:///{self.data_dir / 'control-plane.db'}"

    @property
    def admin_token_path(self) -> Path:
        return self.admin_token_file or self.data_dir / "admin.token"

    @property
    def sync_token_path(self) -> Path:
        return self.sync_token_file or self.data_dir / "sync.token"

    @property
    def listen_address(self) -> Address:
        return _address(self.listen)

    @property
    def http_address(self) -> Address | None:
        """Where HTTP listens; None: nowhere."""
        return _address(self.http_listen) if self.http_listen else None

    @property
    def probe_address(self) -> Address:
        return _address(self.probe_listen)


def settings_from_environment(environment: Mapping[str, str]) -> Settings:
    """Read the settings. Raises InvalidArgumentError naming the variable."""
    given = {
        name.removeprefix(PREFIX).lower(): text
        for name, text in environment.items()
        if name.startswith(PREFIX) and not _OF_A_SERVICE.fullmatch(name.removeprefix(PREFIX))
    }
    unknown = sorted(given.keys() - Settings.model_fields.keys())
    if unknown:
        raise InvalidArgumentError(PREFIX + unknown[0].upper(), "is not a setting")
    # A variable that is set to nothing is as good as not set: deployment tools write such.
    values = {name: text for name, text in given.items() if text}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = "".join(str(part) for part in first["loc"]) or "sync_token_file"
        problem = first["msg"].removeprefix("Value error, ")
        raise InvalidArgumentError(PREFIX + name.upper(), problem) from None


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))
