"""The compose file is valid, hardened, local, and fits together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rendered
from rendered import DEPLOY

from control_plane.settings import settings_from_environment as control_plane_settings
from sidecar.settings import settings_from_environment as sidecar_settings

COMPOSE = DEPLOY / "compose.yaml"
SERVICES: dict[str, Any] = rendered.compose()["services"]
READERS = {"control-plane": control_plane_settings, "sidecar": sidecar_settings}

service_parameter = pytest.mark.parametrize("name", sorted(SERVICES))


def schema_check(path: Path) -> subprocess.CompletedProcess[str]:
    # The package carries the schema of the Compose Specification.
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run(
        [*command, str(path)], check=False, capture_output=True, text=True, timeout=60
    )


def test_it_is_what_the_compose_specification_allows() -> None:
    done = schema_check(COMPOSE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_specification_does_not_know_would_be_noticed(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text(encoding="utf-8").replace("read_only:", "readonly:"))
    assert schema_check(wrong).returncode != 0


@service_parameter
def test_services_are_hardened_and_local(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "privileged" not in service
    assert service["healthcheck"]["test"][:3] == ["CMD", "python", "-c"]
    compile(service["healthcheck"]["test"][3], name, "exec")


@pytest.mark.parametrize("name", sorted(READERS))
def test_processes_accept_what_they_are_started_with(name: str) -> None:
    settings: Any = READERS[name]({**rendered.image_environment(), **SERVICES[name]["environment"]})

    assert SERVICES[name]["command"] == [name]
    assert settings.probe_listen.startswith("0.0.0.0:"), "probes come from outside the container"


def test_volumes_that_are_used_are_declared() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service["volumes"]}

    assert used == rendered.compose()["volumes"].keys()


def mounts_of(name: str) -> dict[str, str]:
    return dict(volume.split(":")[:2] for volume in SERVICES[name]["volumes"])


def test_the_sidecar_finds_control_plane_and_token() -> None:
    sidecar = SERVICES["sidecar"]
    host, port = sidecar["environment"]["WEIGHBRIDGE_SIDECAR_CONTROL_PLANE"].split(":")
    token = Path(sidecar["environment"]["WEIGHBRIDGE_SIDECAR_TOKEN_FILE"])
    settings: Any = control_plane_settings(
        {**rendered.image_environment(), **SERVICES["control-plane"]["environment"]}
    )
    mounts, published = mounts_of("sidecar"), mounts_of(host)

    assert settings.listen.endswith(f":{port}")
    assert sidecar["depends_on"] == {host: {"condition": "service_healthy"}}
    # One volume with nothing but the token: the sidecar sees neither database nor admin token.
    assert str(token.parent) == mounts["sync-token"]
    assert settings.sync_token_path == Path(published["sync-token"]) / token.name
    assert settings.admin_token_path.parent == Path(published["control-plane"])
    assert mounts.keys().isdisjoint({"control-plane"})


def test_the_example_shares_the_sidecars_socket_and_nothing_else() -> None:
    example = SERVICES["example"]
    settings: Any = sidecar_settings(rendered.image_environment())

    assert mounts_of("example") == {"socket": str(settings.socket_path.parent)}
    assert mounts_of("sidecar")["socket"] == str(settings.socket_path.parent)
    assert example["environment"] == {"WEIGHBRIDGE_SIDECAR": f"unix://{settings.socket_path}"}
    # Of its own accord it is not there.
    assert example["profiles"] == ["example"]
