"""Settings come from the environment and are checked at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.settings import PREFIX, Address, settings_from_environment
from weighbridge.rules.errors import InvalidArgumentError


def test_defaults() -> None:
    settings = settings_from_environment({"PATH": "/bin"})
    assert settings.listen_address == Address("127.0.0.1", 7710)
    assert settings.probe_address == Address("127.0.0.1", 7711)
    assert settings.effective_database_url == "sqlite:///weighbridge-data/control-plane.db"
    assert settings.admin_token_path == Path("weighbridge-data/admin.token")
    assert settings.sync_token_path == Path("weighbridge-data/sync.token")
    assert settings.heartbeat_interval_ms == 2000


def test_all_from_the_environment() -> None:
    settings = settings_from_environment(
        {
            PREFIX + "DATA_DIR": "/data",
            PREFIX + "DATABASE_URL": "sqlite:////data/other.db",
            PREFIX + "LISTEN": "[::1]:1",
            PREFIX + "PROBE_LISTEN": "",
            PREFIX + "ADMIN_TOKEN_FILE": "/secrets/admin",
            PREFIX + "HEARTBEAT_INTERVAL_MS": "500",
            PREFIX + "LOG_FORMAT": "console",
        }
    )
    assert settings.effective_database_url == "sqlite:////data/other.db"
    assert settings.listen_address == Address("::1", 1)
    assert settings.probe_listen == "127.0.0.1:7711"
    assert settings.admin_token_path == Path("/secrets/admin")
    assert settings.sync_token_path == Path("/data/sync.token")
    assert settings.heartbeat_interval_ms == 500


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg", "postgres"])
def test_a_postgresql_database_and_its_password_are_not_shown(driver: str) -> None:
    url = f"{driver}://user:hidden@db.example/weighbridge?sslmode=verify-full"
    settings = settings_from_environment({PREFIX + "DATABASE_URL": url})

    assert settings.effective_database_url == url
    assert "hidden" not in repr(settings) + str(settings)


def test_variables_that_kubernetes_makes_of_a_service_are_none_of_ours() -> None:
    names = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_GRPC", "PORT", "PORT_7710_TCP_ADDR")
    environment = {PREFIX + name: "tcp://10.0.0.1:7710" for name in names}
    assert settings_from_environment(environment) == settings_from_environment({})


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("LISTEN", "7710", "'7710' is not host:port"),
        ("LISTEN", "host:99999", "'host:99999' is not host:port"),
        ("HEARTBEAT_INTERVAL_MS", "-1", "Input should be greater than or equal to 100"),
        ("HEARTBEAT_INTERVAL_MS", "soon", "Input should be a valid integer"),
        ("LOG_LEVEL", "loud", "Input should be 'debug'"),
        ("DATABASE_URL", "no url with a password", "is not a database URL"),
        ("DATABASE_URL", "postgresql://u:password@h:port/d", "is not a database URL"),
        ("DATABASE_URL", "mysql://u:password@h/d", "mysql is not supported; use sqlite:"),
        ("DATABASE_URL", "postgresql+asyncpg://u:password@h/d", "asyncpg is not supported; use"),
        ("SYNC_TOKEN_FILE", "weighbridge-data/admin.token", "are the same file; use two"),
        ("NO_SUCH", "1", "is not a setting"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: str, problem: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        settings_from_environment({PREFIX + name: value})
    assert str(caught.value).startswith(PREFIX + name + ": ")
    assert problem in str(caught.value)
    assert "password" not in str(caught.value)
