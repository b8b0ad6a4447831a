"""What the overlays of deploy/kubernetes come to, as `kubectl apply -k` would send it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
OVERLAYS = sorted(
    path.parent.name for path in DEPLOY.glob("kubernetes/overlays/*/kustomization.yaml")
)
POD_KINDS = {"Deployment", "StatefulSet", "Job"}
RENDER_TIMEOUT_S = 60

Document = dict[str, Any]


class Container(NamedTuple):
    """A container, and the pod that it is in."""

    pod: str
    spec: Document

    @property
    def environment(self) -> dict[str, str]:
        """The variables that have a plain value."""
        given = self.spec.get("env", ())
        return {each["name"]: each["value"] for each in given if "value" in each}

    @property
    def mounts(self) -> dict[str, str]:
        return {mount["name"]: mount["mountPath"] for mount in self.spec.get("volumeMounts", ())}

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.spec.get("ports", ())}


def _command(folder: Path) -> list[str]:
    if found := shutil.which("kubectl"):
        return [found, "kustomize", str(folder)]
    if found := shutil.which("kustomize"):
        return [found, "build", str(folder)]
    raise AssertionError(
        "neither kubectl nor kustomize is on the PATH, and without one deploy/kubernetes cannot be "
        "checked: install kubectl 1.27 or newer"
    )


@cache
def documents(overlay: str) -> tuple[Document, ...]:
    """Render an overlay."""
    done = subprocess.run(
        _command(DEPLOY / "kubernetes" / "overlays" / overlay),
        check=False,
        capture_output=True,
        text=True,
        timeout=RENDER_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    # What kustomize warns of, such as a field that is deprecated, is to be put right.
    assert not done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, kind: str) -> list[Document]:
    return [each for each in documents(overlay) if each["kind"] == kind]


def the(overlay: str, kind: str, name: str) -> Document:
    (found,) = (each for each in of_kind(overlay, kind) if each["metadata"]["name"] == name)
    return found


def pods(overlay: str) -> dict[str, Document]:
    """Return the pod templates by the name of what makes them."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]
        for each in documents(overlay)
        if each["kind"] in POD_KINDS
    }


def containers(overlay: str) -> Iterator[Container]:
    for name, pod in pods(overlay).items():
        for spec in [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]:
            yield Container(name, spec)


def container(overlay: str, name: str) -> Container:
    (found,) = (each for each in containers(overlay) if each.spec["name"] == name)
    return found


def image_environment() -> dict[str, str]:
    """Return what the image sets: one ENV instruction, NAME=VALUE on each line."""
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    words = (line.removeprefix("ENV ").strip(" \\") for line in lines)
    return dict(word.split("=", 1) for word in words if word.startswith("WEIGHBRIDGE_"))


def compose() -> Document:
    loaded: Document = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return loaded
