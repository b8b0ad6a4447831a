"""The Dockerfile is sound, and every variable that deploy/ names is a setting."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import rendered
from rendered import DEPLOY, OVERLAYS

from control_plane.settings import Settings as ControlPlaneSettings
from sidecar.settings import Settings as SidecarSettings

DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
VARIABLE = re.compile(r"\bWEIGHBRIDGE_(CONTROL_PLANE|SIDECAR)_([A-Z_]+)\b")


def test_the_dockerfile_is_sound() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None
    found = subprocess.run(
        [hadolint, "--no-color", str(DEPLOY / "Dockerfile")],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_image_runs_without_root_by_number(overlay: str) -> None:
    users = re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)

    for pod in rendered.pods(overlay).values():
        context = pod["spec"]["securityContext"]
        assert users == [f"{context['runAsUser']}:{context['runAsGroup']}"]


def test_the_image_is_of_one_architecture_only_where_it_is_built() -> None:
    stages = re.findall(r"^FROM (.+)$", DOCKERFILE, re.MULTILINE)

    assert not re.search(
        r"amd64|arm64|x86_64|aarch64", re.sub(r"^#.*$", "", DOCKERFILE, flags=re.MULTILINE)
    )
    # What is built where no target is named is what runs, not the example.
    assert stages[-1] == "weighbridge"
    assert "--platform" not in " ".join(stages)


def test_the_image_exposes_the_ports_of_the_settings() -> None:
    exposed = re.search(r"^EXPOSE (.+)$", DOCKERFILE, re.MULTILINE)
    sidecar = rendered.container("example", "weighbridge")
    addresses = [
        SidecarSettings().listen,
        SidecarSettings().probe_listen,
        sidecar.environment["WEIGHBRIDGE_SIDECAR_HEALTH_LISTEN"],
        ControlPlaneSettings().listen,
        ControlPlaneSettings().probe_listen,
    ]

    assert exposed is not None
    assert exposed[1].split() == [address.rpartition(":")[2] for address in addresses]


def test_the_image_is_built_of_files_that_are_not_ignored() -> None:
    root = DEPLOY.parent
    kept = {
        line.removeprefix("!").rstrip("/")
        for line in (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied: set[str] = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        copied |= {name.rstrip("/") for name in line.split()[:-1]}

    assert copied == kept
    assert all((root / name).exists() for name in copied)


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(DEPLOY.rglob("*")) if path.is_file()],
    ids=lambda path: path.relative_to(DEPLOY).as_posix(),
)
def test_every_variable_named_is_a_setting(path: Path) -> None:
    known = {
        "CONTROL_PLANE": {name.upper() for name in ControlPlaneSettings.model_fields},
        "SIDECAR": {field.name.upper() for field in fields(SidecarSettings)},
    }
    text = path.read_text(encoding="utf-8")
    text = text.replace("WEIGHBRIDGE_CONTROL_PLANE_PORT", "")  # named as what must not be set

    assert not [match[0] for match in VARIABLE.finditer(text) if match[2] not in known[match[1]]]
