"""deploy/kubernetes is valid, hardened, and fits together and with the processes it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import operator_schema
import pytest
import rendered
from rendered import OVERLAYS, Container, Document

from control_plane.settings import Settings as ControlPlaneSettings
from control_plane.settings import settings_from_environment as control_plane_settings
from examples.app import STOP_GRACE_S as APPLICATION_GRACE_S
from sidecar.process import RETURN_TIMEOUT_S
from sidecar.settings import Settings as SidecarSettings
from sidecar.settings import settings_from_environment as sidecar_settings
from sidecar.transport.health import LIVENESS, READINESS
from weighbridge.cli.root import COMMANDS

# Of the first release with native sidecars and a pause before the stop, and of the newest that the
# schemas cover.
KUBERNETES_VERSIONS = ["1.30", kubernetes_validate.latest_version()]
WITH_SIDECAR = ["example", "example-persistent"]
CONTROL_PLANES = ["production", "small"]
MIB = 1 << 20
UNITS = {"Mi": MIB, "Gi": MIB << 10}

overlay_parameter = pytest.mark.parametrize("overlay", OVERLAYS)
sidecar_parameter = pytest.mark.parametrize("overlay", WITH_SIDECAR)
control_plane_parameter = pytest.mark.parametrize("overlay", CONTROL_PLANES)


def bytes_of(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def settings_of(container: Container) -> Any:
    read = control_plane_settings if container.spec["args"] != ["sidecar"] else sidecar_settings
    return read({**rendered.image_environment(), **container.environment})


def sidecar_of(overlay: str) -> Container:
    found = rendered.container(overlay, "weighbridge")
    assert found.spec in rendered.pods(overlay)[found.pod]["spec"]["initContainers"]
    return found


def test_every_overlay_is_looked_at() -> None:
    assert sorted(WITH_SIDECAR + CONTROL_PLANES) == OVERLAYS


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@overlay_parameter
def test_kubernetes_accepts_every_resource(overlay: str, version: str) -> None:
    for document in rendered.documents(overlay):
        if document["apiVersion"].startswith("monitoring.coreos.com/"):
            operator_schema.validate(document)
        else:
            kubernetes_validate.validate(document, version, strict=True)


def test_a_resource_with_a_wrong_field_would_be_noticed() -> None:
    document = rendered.the("production", "ServiceMonitor", "weighbridge-control-plane")
    wrong = {**document, "spec": {**document["spec"], "endpoint": []}}
    with pytest.raises(ValueError, match="endpoint"):
        operator_schema.validate(wrong)


@overlay_parameter
def test_all_is_in_one_namespace(overlay: str) -> None:
    named = {
        each["metadata"].get("namespace")
        for each in rendered.documents(overlay)
        if each["kind"] != "Namespace"
    }
    assert named == {"weighbridge"}


@overlay_parameter
def test_containers_can_do_nothing_they_need_not(overlay: str) -> None:
    for container in rendered.containers(overlay):
        context = container.spec["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container.spec["resources"]["limits"]["memory"]
        assert container.spec["resources"]["requests"].keys() == {"cpu", "memory"}


@overlay_parameter
def test_pods_run_as_nobody_special(overlay: str) -> None:
    for pod in rendered.pods(overlay).values():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        # Else Kubernetes sets variables that look like settings.
        assert spec["enableServiceLinks"] is False


@overlay_parameter
def test_volumes_that_are_mounted_are_there(overlay: str) -> None:
    for document in rendered.documents(overlay):
        if document["kind"] not in rendered.POD_KINDS:
            continue
        spec = document["spec"]["template"]["spec"]
        claimed = document["spec"].get("volumeClaimTemplates", ())
        there = {volume["name"] for volume in spec.get("volumes", ())}
        there |= {claim["metadata"]["name"] for claim in claimed}
        mounted: set[str] = set()
        for each in [*spec.get("initContainers", ()), *spec["containers"]]:
            mounted |= Container("", each).mounts.keys()
        assert mounted == there


@overlay_parameter
def test_no_secret_is_written_down(overlay: str) -> None:
    assert not rendered.of_kind(overlay, "Secret")


@overlay_parameter
def test_processes_accept_what_they_are_started_with(overlay: str) -> None:
    ours = [each for each in rendered.containers(overlay) if "args" in each.spec]
    ours = [each for each in ours if each.spec["image"].startswith("weighbridge:")]
    assert ours
    for container in ours:
        (command,) = container.spec["args"]
        assert command in COMMANDS
        settings = settings_of(container)
        if command != "migrate":
            assert settings.probe_listen.startswith("0.0.0.0:"), "probes come from outside"


@control_plane_parameter
def test_the_service_reaches_the_control_plane(overlay: str) -> None:
    service = rendered.the(overlay, "Service", "weighbridge-control-plane")
    container = rendered.container(overlay, "control-plane")
    labels = rendered.pods(overlay)[container.pod]["metadata"]["labels"]
    ports = {port["name"]: port for port in service["spec"]["ports"]}
    address = sidecar_of("example").environment["WEIGHBRIDGE_SIDECAR_CONTROL_PLANE"]

    assert service["spec"]["selector"].items() <= labels.items()
    assert address == f"{service['metadata']['name']}:{ports['grpc']['port']}"
    assert {port["targetPort"] for port in ports.values()} <= container.ports.keys()
    settings = settings_of(container)
    assert container.ports["grpc"] == settings.listen_address.port
    assert container.ports["probes"] == settings.probe_address.port


@control_plane_parameter
def test_the_network_policy_lets_sidecars_and_prometheus_in(overlay: str) -> None:
    policy = rendered.the(overlay, "NetworkPolicy", "weighbridge-control-plane")["spec"]
    container = rendered.container(overlay, "control-plane")
    pod = rendered.pods(overlay)[container.pod]["metadata"]["labels"]
    sidecars = rendered.pods("example")[sidecar_of("example").pod]["metadata"]["labels"]
    grpc, probes = policy["ingress"]

    assert policy["podSelector"]["matchLabels"].items() <= pod.items()
    assert grpc["from"][0]["podSelector"]["matchLabels"].items() <= sidecars.items()
    assert [grpc["ports"][0]["port"], probes["ports"][0]["port"]] == ["grpc", "probes"]
    assert {"grpc", "probes"} <= container.ports.keys()


@control_plane_parameter
def test_one_control_plane_writes(overlay: str) -> None:
    document = rendered.the(overlay, "Deployment", "weighbridge-control-plane")

    assert document["spec"]["replicas"] == 1
    assert document["spec"]["strategy"] == {"type": "Recreate"}


def test_the_small_one_keeps_sqlite() -> None:
    settings = settings_of(rendered.container("small", "control-plane"))

    assert settings.effective_database_url.startswith("sqlite:")


def test_with_postgresql_nothing_is_kept_in_the_pod() -> None:
    container = rendered.container("production", "control-plane")
    spec = rendered.pods("production")[container.pod]["spec"]
    settings = settings_of(container)
    (database,) = (e for e in container.spec["env"] if e["name"].endswith("_DATABASE_URL"))
    migrate = rendered.container("production", "migrate")

    assert not rendered.of_kind("production", "PersistentVolumeClaim")
    assert not [volume for volume in spec["volumes"] if "persistentVolumeClaim" in volume]
    assert database in migrate.spec["env"]
    tokens = {settings.admin_token_path.parent, settings.sync_token_path.parent}
    assert tokens == {Path(container.mounts["tokens"])}


def test_the_service_monitor_finds_the_control_plane() -> None:
    (monitor,) = rendered.of_kind("production", "ServiceMonitor")
    service = rendered.the("production", "Service", "weighbridge-control-plane")
    (endpoint,) = monitor["spec"]["endpoints"]

    selected = monitor["spec"]["selector"]["matchLabels"]
    assert selected.items() <= service["metadata"]["labels"].items()
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


@sidecar_parameter
def test_the_pod_monitor_finds_sidecars(overlay: str) -> None:
    (monitor,) = rendered.of_kind("production", "PodMonitor")
    sidecar = sidecar_of(overlay)
    pod = rendered.pods(overlay)[sidecar.pod]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]

    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert sidecar.ports[endpoint["port"]] == int(settings_of(sidecar).probe_listen.split(":")[1])


@overlay_parameter
def test_annotations_lead_prometheus_to_the_metrics(overlay: str) -> None:
    for name, pod in rendered.pods(overlay).items():
        listens = {
            int(settings_of(each).probe_listen.rpartition(":")[2])
            for each in rendered.containers(overlay)
            if each.pod == name and each.spec.get("args") in (["sidecar"], ["control-plane"])
        }
        annotations = pod["metadata"].get("annotations", {})
        if listens:
            assert annotations["prometheus.io/scrape"] == "true"
            assert {int(annotations["prometheus.io/port"])} == listens
            assert annotations["prometheus.io/path"] == "/metrics"


@sidecar_parameter
def test_the_sidecar_starts_first_and_shares_its_socket(overlay: str) -> None:
    sidecar = sidecar_of(overlay)
    application = rendered.container(overlay, "api")
    socket = settings_of(sidecar).socket_path

    assert sidecar.spec["restartPolicy"] == "Always"
    assert application.environment["WEIGHBRIDGE_SIDECAR"] == f"unix://{socket}"
    for container in (sidecar, application):
        assert container.mounts["weighbridge-socket"] == str(socket.parent)
    # The socket is for its owner and its group.
    context = rendered.pods(overlay)[sidecar.pod]["spec"]["securityContext"]
    assert context["fsGroup"] == sidecar.spec["securityContext"]["runAsGroup"]


@sidecar_parameter
def test_the_sidecar_is_probed_where_it_answers(overlay: str) -> None:
    sidecar = sidecar_of(overlay)
    port = int(settings_of(sidecar).health_listen.rpartition(":")[2])
    asked = {
        probe: (sidecar.spec[probe]["grpc"]["port"], sidecar.spec[probe]["grpc"]["service"])
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }

    assert asked == {
        "startupProbe": (port, LIVENESS),
        "livenessProbe": (port, LIVENESS),
        "readinessProbe": (port, READINESS),
    }
    assert sidecar.ports["wb-health"] == port


@sidecar_parameter
def test_the_token_comes_from_a_secret(overlay: str) -> None:
    sidecar = sidecar_of(overlay)
    spec = rendered.pods(overlay)[sidecar.pod]["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    token = settings_of(sidecar).token_path

    assert volumes["weighbridge-token"]["secret"]["secretName"] == "weighbridge-sync-token"
    assert str(token.parent) == sidecar.mounts["weighbridge-token"]
    readme = (rendered.DEPLOY / "README.md").read_text(encoding="utf-8")
    assert f"--from-file={token.name}=" in readme


@sidecar_parameter
def test_the_grace_covers_pause_application_and_sidecar(overlay: str) -> None:
    spec = rendered.pods(overlay)[sidecar_of(overlay).pod]["spec"]
    application = rendered.container(overlay, "api").spec
    pause_s = application["lifecycle"]["preStop"]["sleep"]["seconds"]
    sidecar_s = SidecarSettings().stop_grace_s + RETURN_TIMEOUT_S
    grace_s = spec["terminationGracePeriodSeconds"]

    assert grace_s > pause_s + APPLICATION_GRACE_S + sidecar_s


@control_plane_parameter
def test_the_grace_of_the_control_plane_covers_its_stop(overlay: str) -> None:
    container = rendered.container(overlay, "control-plane")
    grace_s = rendered.pods(overlay)[container.pod]["spec"]["terminationGracePeriodSeconds"]
    pause_s = container.spec["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert grace_s > pause_s + ControlPlaneSettings().stop_grace_s


@sidecar_parameter
def test_there_is_room_for_the_journal(overlay: str) -> None:
    sidecar = sidecar_of(overlay)
    pod: Document = rendered.pods(overlay)[sidecar.pod]["spec"]
    room = [v["emptyDir"]["sizeLimit"] for v in pod["volumes"] if v["name"] == "weighbridge-data"]
    for document in rendered.of_kind(overlay, "StatefulSet"):
        (claim,) = document["spec"]["volumeClaimTemplates"]
        assert claim["metadata"]["name"] == "weighbridge-data"
        room.append(claim["spec"]["resources"]["requests"]["storage"])

    (size,) = room
    # As much again for snapshots, and for the files that the database keeps beside it.
    assert bytes_of(size) >= 2 * settings_of(sidecar).journal_bytes_max


def test_a_persistent_journal_is_the_pods_own() -> None:
    (example,) = rendered.of_kind("example", "Deployment")
    (persistent,) = rendered.of_kind("example-persistent", "StatefulSet")
    kept = persistent["spec"]["persistentVolumeClaimRetentionPolicy"]
    volumes = {v["name"] for v in persistent["spec"]["template"]["spec"]["volumes"]}

    assert not rendered.of_kind("example-persistent", "Deployment")
    assert kept == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    before = {v["name"] for v in example["spec"]["template"]["spec"]["volumes"]}
    assert before - volumes == {"weighbridge-data"}
