"""What deploy/ says is valid, hardened, and known to the processes that it starts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from control_plane.settings import Settings as ControlPlaneSettings
from control_plane.settings import settings_from_environment as control_plane_settings
from sidecar.settings import Settings as SidecarSettings
from sidecar.settings import settings_from_environment as sidecar_settings
from weighbridge.cli.root import COMMANDS

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFEST = DEPLOY / "kubernetes" / "example.yaml"
# Of the first release with native sidecars, and of the newest that the schemas cover.
KUBERNETES_VERSIONS = ["1.29", kubernetes_validate.latest_version()]
VARIABLE = re.compile(r"\bWEIGHBRIDGE_(CONTROL_PLANE|SIDECAR)_([A-Z_]+)\b")

Document = dict[str, Any]


def documents() -> list[Document]:
    return list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))


def pods() -> dict[str, Document]:
    return {
        document["metadata"]["name"]: document["spec"]["template"]
        for document in documents()
        if document["kind"] == "Deployment"
    }


def containers() -> Iterator[tuple[str, Document]]:
    for name, pod in pods().items():
        spec = pod["spec"]
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            yield f"{name}/{container['name']}", container


def environment(container: Document) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"]}


def compose() -> Document:
    loaded: Document = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("document", documents(), ids=lambda d: f"{d['kind']}")
def test_kubernetes_accepts_the_manifest(document: Document, version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize(("name", "container"), list(containers()))
def test_containers_can_do_nothing_they_need_not(name: str, container: Document) -> None:
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}


@pytest.mark.parametrize(("name", "pod"), list(pods().items()))
def test_pods_run_as_nobody_special(name: str, pod: Document) -> None:
    spec = pod["spec"]

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    # Else Kubernetes sets variables that look like settings.
    assert spec["enableServiceLinks"] is False


@pytest.mark.parametrize(("name", "pod"), list(pods().items()))
def test_prometheus_finds_the_port_of_the_probes(name: str, pod: Document) -> None:
    annotations = pod["metadata"]["annotations"]
    ports = {
        port["containerPort"]
        for owner, container in containers()
        if owner.startswith(f"{name}/")
        for port in container["ports"]
        if port["name"] == "probes"
    }

    assert annotations["prometheus.io/scrape"] == "true"
    assert {int(annotations["prometheus.io/port"])} == ports
    assert annotations["prometheus.io/path"] == "/metrics"


def test_the_sidecar_starts_first_and_shares_its_socket() -> None:
    spec = pods()["your-api"]["spec"]
    (sidecar,) = spec["initContainers"]
    (application,) = spec["containers"]
    socket = SidecarSettings(socket=image_environment()["WEIGHBRIDGE_SIDECAR_SOCKET"]).socket_path

    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["startupProbe"]["httpGet"]["path"] == "/livez"
    assert sidecar["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert sidecar["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert environment(application)["WEIGHBRIDGE_SIDECAR"] == f"unix://{socket}"
    for container in (sidecar, application):
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["weighbridge-socket"] == str(socket.parent)


def test_the_token_comes_from_a_secret_and_no_secret_is_written_down() -> None:
    spec = pods()["your-api"]["spec"]
    (sidecar,) = spec["initContainers"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in sidecar["volumeMounts"]}

    assert volumes["weighbridge-token"]["secret"]["secretName"] == "weighbridge-sync-token"
    token_file = Path(environment(sidecar)["WEIGHBRIDGE_SIDECAR_TOKEN_FILE"])
    assert str(token_file.parent) == mounts["weighbridge-token"]
    assert f"--from-file={token_file.name}=" in (DEPLOY / "README.md").read_text(encoding="utf-8")
    assert "Secret" not in {document["kind"] for document in documents()}


def test_the_service_reaches_the_control_plane() -> None:
    (service,) = (document for document in documents() if document["kind"] == "Service")
    (port,) = service["spec"]["ports"]
    pod = pods()["weighbridge-control-plane"]
    (sidecar,) = pods()["your-api"]["spec"]["initContainers"]
    address = environment(sidecar)["WEIGHBRIDGE_SIDECAR_CONTROL_PLANE"]

    assert service["spec"]["selector"] == pod["metadata"]["labels"]
    assert address == f"{service['metadata']['name']}:{port['port']}"


def image_environment() -> dict[str, str]:
    """Return what the image sets: one ENV instruction, NAME=VALUE on each line."""
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    return dict(re.findall(r"(WEIGHBRIDGE_\w+)=(\S+)", dockerfile))


def started() -> dict[str, tuple[list[str], dict[str, str]]]:
    """Return command and environment of every container of ours, wherever it is started."""
    ours = {
        f"kubernetes {name}": (container["args"], environment(container))
        for name, container in containers()
        if container["image"].startswith("weighbridge:")
    }
    for name, service in compose()["services"].items():
        ours[f"compose {name}"] = (service["command"], service["environment"])
    return ours


def test_every_container_of_ours_is_seen() -> None:
    assert sorted(command for ([command], _) in started().values()) == (
        ["control-plane", "control-plane", "sidecar", "sidecar"]
    )


@pytest.mark.parametrize(("where", "how"), list(started().items()))
def test_processes_accept_what_they_are_started_with(
    where: str, how: tuple[list[str], dict[str, str]]
) -> None:
    [command], variables = how
    read = {"control-plane": control_plane_settings, "sidecar": sidecar_settings}[command]

    assert command in COMMANDS
    settings: Any = read({**image_environment(), **variables})
    assert settings.probe_listen.startswith("0.0.0.0:"), "probes come from outside the container"


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(DEPLOY.rglob("*")) if path.is_file()],
    ids=lambda path: path.name,
)
def test_every_variable_named_is_a_setting(path: Path) -> None:
    known = {
        "CONTROL_PLANE": {name.upper() for name in ControlPlaneSettings.model_fields},
        "SIDECAR": {field.name.upper() for field in fields(SidecarSettings)},
    }
    text = path.read_text(encoding="utf-8")
    text = text.replace("WEIGHBRIDGE_CONTROL_PLANE_PORT", "")  # named as what must not be set

    assert not [match[0] for match in VARIABLE.finditer(text) if match[2] not in known[match[1]]]


def test_the_image_exposes_the_ports_of_the_settings() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    exposed = re.search(r"^EXPOSE (.+)$", dockerfile, re.MULTILINE)
    addresses = [
        SidecarSettings().listen,
        SidecarSettings().probe_listen,
        ControlPlaneSettings().listen,
        ControlPlaneSettings().probe_listen,
    ]

    assert exposed is not None
    assert exposed[1].split() == [address.rpartition(":")[2] for address in addresses]


def test_the_dockerfile_is_sound() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None
    found = subprocess.run(
        [hadolint, "--no-color", str(DEPLOY / "Dockerfile")],
        check=False,
        capture_output=True,
        text=True,
    )

    assert found.returncode == 0, found.stdout + found.stderr


def test_the_image_runs_without_root_by_number() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    users = re.findall(r"^USER (.+)$", dockerfile, re.MULTILINE)
    context = pods()["your-api"]["spec"]["securityContext"]

    assert users == [f"{context['runAsUser']}:{context['runAsGroup']}"]


def test_the_image_is_built_of_files_that_are_not_ignored() -> None:
    root = DEPLOY.parent
    kept = {
        line.removeprefix("!").rstrip("/")
        for line in (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied: set[str] = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE):
        copied |= {name.rstrip("/") for name in line.split()[:-1]}

    assert copied == kept
    assert all((root / name).exists() for name in copied)


def test_compose_services_are_hardened_and_local() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
        assert "privileged" not in service, name
        assert service["healthcheck"]["test"][:3] == ["CMD", "python", "-c"], name
        compile(service["healthcheck"]["test"][3], name, "exec")


def test_compose_uses_volumes_that_it_declares() -> None:
    loaded = compose()
    used = {
        volume.split(":")[0]
        for service in loaded["services"].values()
        for volume in service["volumes"]
    }

    assert used == loaded["volumes"].keys()


def test_the_sidecar_of_compose_finds_control_plane_and_token() -> None:
    services = compose()["services"]
    sidecar = services["sidecar"]
    host, port = sidecar["environment"]["WEIGHBRIDGE_SIDECAR_CONTROL_PLANE"].split(":")
    mounts = dict(volume.split(":")[:2] for volume in sidecar["volumes"])
    token = Path(sidecar["environment"]["WEIGHBRIDGE_SIDECAR_TOKEN_FILE"])
    settings: Any = control_plane_settings(
        {**image_environment(), **services["control-plane"]["environment"]}
    )

    published = dict(volume.split(":")[:2] for volume in services[host]["volumes"])

    assert settings.listen.endswith(f":{port}")
    assert sidecar["depends_on"] == {host: {"condition": "service_healthy"}}
    # One volume with nothing but the token: the sidecar sees neither database nor admin token.
    assert str(token.parent) == mounts["sync-token"]
    assert settings.sync_token_path == Path(published["sync-token"]) / token.name
    assert settings.admin_token_path.parent == Path(published["control-plane"])
    assert mounts.keys().isdisjoint({"control-plane"})
