"""The sidecar's settings: one frozen value, from the environment, checked at the start.

Every setting is an environment variable `WEIGHBRIDGE_SIDECAR_` + the field's name in capitals.
Plain dataclasses and no settings library: the sidecar runs beside every pod, and its memory counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from sidecar.core.holding import PERCENT
from sidecar.core.snapshots import Mode
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.units import require_id

PREFIX: Final = "WEIGHBRIDGE_SIDECAR_"
IDEMPOTENCY_KEEP_S_MIN: Final = 900
# Kubernetes gives every pod such variables of each service; ours may well be named so.
_OF_A_SERVICE: Final = re.compile(r"SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?")
_LOOPBACK: Final = ("127.", "localhost:", "[::1]:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings with their defaults."""

    data_dir: Path = Path("weighbridge-data/sidecar")
    """Where the journal and the last snapshots lie. One sidecar per directory."""
    listen: str = "127.0.0.1:7700"
    """Where the API listens on TCP; port 0 takes a free one. Loopback unless `listen_anywhere`."""
    listen_anywhere: bool = False
    """Allows `listen` on an address that other machines reach. The API has no authentication."""
    socket: str = ""
    """Path of the unix socket. Empty: `sidecar.sock` in the data directory."""
    probe_listen: str = "127.0.0.1:7701"
    """Where /livez, /readyz and /metrics listen."""
    health_listen: str = ""
    """Where grpc.health.v1 alone listens, for gRPC probes. Empty: only beside the API."""
    control_plane: str = "127.0.0.1:7710"
    """Address of the control plane, host:port."""
    token_file: str = ""
    """File with the token for the control plane. Empty: `sync.token` beside the data directory."""
    mode: Mode = Mode.ALL
    """Which customers are held: all, listed or on_demand."""
    customers: tuple[str, ...] = ()
    """Mode listed: their ids, separated by commas."""
    customers_max: int = 10_000
    """Mode on_demand: how many customers are held."""
    outage_after_s: float = 10.0
    """Silence of the control plane after which outage policies decide."""
    admit_unloaded: bool = False
    """What an outage answers for customers that are not loaded: true allows, false refuses."""
    hold_share_percent_max: int = 100
    """How much of a hard limit one reservation may hold, in percent; 1 to 100."""
    load_timeout_ms: int = 1_000
    """How long a call waits at most for its customer to be loaded."""
    waiters_max: int = 1_000
    """How many calls may wait for customers at once."""
    calls_max: int = 10_000
    """How many calls may be queued at once; more get RESOURCE_EXHAUSTED."""
    journal_bytes_max: int = 1 << 30
    """Room for the journal on disk; when it is full, usage is refused before it is admitted."""
    fsync_interval_ms: int = 100
    """How much acknowledged usage a power cut may cost; 0 syncs before each answer."""
    idempotency_keys_max: int = 1_000_000
    """How many idempotency keys are held; past it, keyed calls get RESOURCE_EXHAUSTED."""
    idempotency_keep_s: int = IDEMPOTENCY_KEEP_S_MIN
    """How long an idempotency key is held; at least 900."""
    backoff_ms_min: int = 100
    backoff_ms_max: int = 10_000
    """Waits between attempts to reach the control plane: doubled, capped, with full jitter."""
    stop_grace_s: float = 10.0
    """How long a stop may take to answer open calls and hand over usage."""
    log_level: str = "info"
    log_format: str = "json"
    """json, or console for people."""

    @property
    def socket_path(self) -> Path:
        """Where the unix socket lies."""
        return Path(self.socket) if self.socket else self.data_dir / "sidecar.sock"

    @property
    def token_path(self) -> Path:
        """Where the control plane's token lies."""
        return Path(self.token_file) if self.token_file else self.data_dir.parent / "sync.token"

    @property
    def outage_after_ms(self) -> int:
        return round(self.outage_after_s * 1000)


def settings_from_environment(environment: Mapping[str, str]) -> Settings:
    """Read the settings. Raises InvalidArgumentError naming the variable."""
    known = {PREFIX + field.name.upper(): field.name for field in fields(Settings)}
    given = {
        name: text
        for name, text in environment.items()
        if name.startswith(PREFIX) and not _OF_A_SERVICE.fullmatch(name.removeprefix(PREFIX))
    }
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise InvalidArgumentError(unknown[0], "is not a setting of the sidecar")
    defaults = Settings()
    values = {
        known[name]: _value_from_text(name, text, getattr(defaults, known[name]))
        for name, text in given.items()
    }
    settings = Settings(**values)
    _check(settings)
    return settings


def _value_from_text(name: str, text: str, default: object) -> Any:
    kind: Any = type(default)
    try:
        return _READERS[kind](text) if kind in _READERS else kind(text)
    except (ValueError, KeyError) as error:
        wanted = "|".join(mode.value for mode in Mode) if kind is Mode else kind.__name__
        raise InvalidArgumentError(name, f"{text!r} is not valid; it is a {wanted}") from error


_READERS: Final[Mapping[type, Callable[[str], Any]]] = {
    bool: lambda text: {"true": True, "1": True, "false": False, "0": False}[text.lower()],
    tuple: lambda text: tuple(part.strip() for part in text.split(",") if part.strip()),
    type(Path()): Path,
}


def _check(settings: Settings) -> None:
    _check_numbers(settings)
    _check_addresses(settings)
    for customer in settings.customers:
        require_id(PREFIX + "CUSTOMERS", customer)
    if (settings.mode is Mode.LISTED) != bool(settings.customers):
        raise InvalidArgumentError(PREFIX + "CUSTOMERS", "goes with mode listed, and with no other")


def _check_numbers(settings: Settings) -> None:
    for field in fields(Settings):
        value = getattr(settings, field.name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and value < 0:
            raise InvalidArgumentError(PREFIX + field.name.upper(), f"{value} is negative")
    if settings.idempotency_keep_s < IDEMPOTENCY_KEEP_S_MIN:
        raise InvalidArgumentError(
            PREFIX + "IDEMPOTENCY_KEEP_S", f"is at least {IDEMPOTENCY_KEEP_S_MIN}"
        )
    if not 1 <= settings.hold_share_percent_max <= PERCENT:
        raise InvalidArgumentError(PREFIX + "HOLD_SHARE_PERCENT_MAX", "is not between 1 and 100")
    if settings.backoff_ms_min > settings.backoff_ms_max:
        raise InvalidArgumentError(PREFIX + "BACKOFF_MS_MIN", "is above backoff_ms_max")


def _check_addresses(settings: Settings) -> None:
    for name in ("listen", "probe_listen", "health_listen", "control_plane"):
        address = getattr(settings, name)
        if address or name != "health_listen":
            _require_address(PREFIX + name.upper(), address)
    if not settings.listen.startswith(_LOOPBACK) and not settings.listen_anywhere:
        raise InvalidArgumentError(
            PREFIX + "LISTEN",
            f"{settings.listen} is not loopback, and the API has no authentication; "
            f"set {PREFIX}LISTEN_ANYWHERE=true if other machines may use it",
        )


def _require_address(name: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 (the last port)
        raise InvalidArgumentError(name, f"{address!r} is not host:port")
