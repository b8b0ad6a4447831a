"""Settings: read from the environment, each mistake one line that names the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.core.snapshots import Mode
from sidecar.settings import PREFIX, Settings, settings_from_environment
from weighbridge.rules.errors import InvalidArgumentError


def read(**variables: str) -> Settings:
    return settings_from_environment({PREFIX + name: text for name, text in variables.items()})


def test_defaults_listen_on_loopback_only() -> None:
    settings = read()
    assert settings.listen.startswith("127.0.0.1:")
    assert settings.socket_path == settings.data_dir / "sidecar.sock"
    assert settings.token_path == settings.data_dir.parent / "sync.token"


def test_every_kind_of_value_is_read() -> None:
    settings = read(
        DATA_DIR="/data",
        MODE="listed",
        CUSTOMERS="a, b,",
        OUTAGE_AFTER_S="2.5",
        ADMIT_UNLOADED="true",
        CALLS_MAX="7",
    )
    assert settings.data_dir == Path("/data")
    assert settings.mode is Mode.LISTED
    assert settings.customers == ("a", "b")
    assert settings.outage_after_ms == 2500
    assert settings.admit_unloaded
    assert settings.calls_max == 7


def test_variables_that_kubernetes_makes_of_a_service_are_no_settings() -> None:
    assert (
        read(SERVICE_HOST="10.0.0.1", PORT="tcp://10.0.0.1:7700", PORT_7700_TCP="x") == Settings()
    )


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"NONSENSE": "1"}, "WEIGHBRIDGE_SIDECAR_NONSENSE: is not a setting of the sidecar"),
        ({"MODE": "some"}, "WEIGHBRIDGE_SIDECAR_MODE: 'some' is not valid; it is a all|listed"),
        ({"CALLS_MAX": "many"}, "WEIGHBRIDGE_SIDECAR_CALLS_MAX: 'many' is not valid; it is a int"),
        ({"CALLS_MAX": "-1"}, "WEIGHBRIDGE_SIDECAR_CALLS_MAX: -1 is negative"),
        ({"ADMIT_UNLOADED": "yes"}, "WEIGHBRIDGE_SIDECAR_ADMIT_UNLOADED: 'yes'"),
        ({"LISTEN": "7700"}, "WEIGHBRIDGE_SIDECAR_LISTEN: '7700' is not host:port"),
        ({"LISTEN": "0.0.0.0:7700"}, "WEIGHBRIDGE_SIDECAR_LISTEN: 0.0.0.0:7700 is not loopback"),
        ({"MODE": "listed"}, "WEIGHBRIDGE_SIDECAR_CUSTOMERS: goes with mode listed"),
        ({"CUSTOMERS": "a b", "MODE": "listed"}, "WEIGHBRIDGE_SIDECAR_CUSTOMERS: is not an id"),
        ({"IDEMPOTENCY_KEEP_S": "60"}, "WEIGHBRIDGE_SIDECAR_IDEMPOTENCY_KEEP_S: is at least 900"),
        ({"BACKOFF_MS_MIN": "20000"}, "WEIGHBRIDGE_SIDECAR_BACKOFF_MS_MIN: is above"),
    ],
)
def test_a_mistake_names_the_variable(variables: dict[str, str], problem: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        read(**variables)
    assert str(caught.value).startswith(problem)


def test_an_address_for_other_machines_has_to_be_asked_for() -> None:
    assert read(LISTEN="0.0.0.0:7700", LISTEN_ANYWHERE="true").listen == "0.0.0.0:7700"
