"""What is installed is what is in the repository, and its versions are pinned."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("weighbridge", "sidecar", "control_plane")
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([A-Za-z0-9.+!]+)$")


def tracked(*folders: str) -> list[str]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]
    listed = subprocess.run(
        [*command, *folders], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the distribution from a copy, so that the repository stays clean."""
    source = tmp_path_factory.mktemp("source")
    for name in [*tracked(*PACKAGES), "pyproject.toml", "README.md", "LICENSE", "NOTICE"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    built = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    options = ["--no-build-isolation", "--no-cache-dir", "--wheel-dir", str(built), str(source)]
    subprocess.run([*command, *options], check=True, stdin=subprocess.DEVNULL)
    (path,) = built.glob("weighbridge-*.whl")
    return zipfile.ZipFile(path)


def test_every_file_of_the_packages_is_installed(wheel: zipfile.ZipFile) -> None:
    installed = set(wheel.namelist())

    # Documents for readers of the source are not.
    assert not [n for n in tracked(*PACKAGES) if n not in installed and not n.endswith(".md")]


def test_nothing_but_the_packages_is_installed(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_licence_and_notice_are_installed(wheel: zipfile.ZipFile) -> None:
    names = {Path(name).name for name in wheel.namelist()}

    assert {"LICENSE", "NOTICE"} <= names


def pins(name: str) -> dict[str, str]:
    lines = [line.strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    wanted = [line for line in lines if line and not line.startswith("#")]
    matches = {line: PINNED.match(line) for line in wanted if line != "-r requirements-run.txt"}
    loose = [line for line, match in matches.items() if match is None]
    assert not loose, "every line is name==version: no hosts, no options, no ranges"
    return {normal(match[1]): match[2] for match in matches.values() if match}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_version_is_pinned_twice() -> None:
    assert not pins("requirements-run.txt").keys() & pins("requirements-dev.txt").keys()


def declared() -> dict[str, set[str]]:
    """Return the distributions that each extra names; "" is what is always installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {
        extra: {normal(re.split(r"[\[>=<~! ]", each, maxsplit=1)[0]) for each in requirements}
        for extra, requirements in groups.items()
    }


def imported(folder: str) -> set[str]:
    """Return the distributions whose modules a folder's files import."""
    modules: set[str] = set()
    for name in tracked(folder):
        if name.endswith(".py"):
            for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    modules |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    modules.add(node.module.split(".")[0])
    outside = modules - sys.stdlib_module_names - set(PACKAGES)
    # Several share the name `google`, and pydantic brings the one version of its core that fits.
    special = {"google": ["protobuf"], "pydantic_core": ["pydantic"]}
    owners = {**packages_distributions(), **special}
    return {normal(owners[module][0]) for module in outside}


def test_what_is_declared_is_pinned_for_running() -> None:
    names = set().union(*declared().values())

    assert not names - pins("requirements-run.txt").keys() - {"weighbridge"}


def test_what_is_imported_is_declared_where_it_is_needed() -> None:
    extras = declared()
    always = extras[""]
    both = always | (extras["sidecar"] & extras["control-plane"])
    allowed = {
        "weighbridge/v1": always,
        "weighbridge/rules": set(),
        "weighbridge/client": always,
        "weighbridge/runtime": both,
        "weighbridge/cli": always | extras["cli"],
        "sidecar": always | extras["sidecar"],
        "control_plane": always | extras["control-plane"] | extras["exports"] | extras["http"],
    }

    assert {folder: imported(folder) - names for folder, names in allowed.items()} == {
        folder: set() for folder in allowed
    }


def test_the_floors_fit_the_generated_code() -> None:
    """Generated code refuses a runtime that is older than what generated it."""
    messages = (ROOT / "weighbridge/v1/types_pb2.py").read_text(encoding="utf-8")
    services = (ROOT / "weighbridge/v1/types_pb2_grpc.py").read_text(encoding="utf-8")
    protobuf = re.search(r"# Protobuf Python Version: (\S+)", messages)
    grpc = re.search(r"GRPC_GENERATED_VERSION = '(\S+)'", services)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert protobuf is not None
    assert grpc is not None
    assert f"grpcio>={grpc[1]}" in project["dependencies"]
    assert f"protobuf>={protobuf[1]}" in project["dependencies"]


def test_the_image_and_the_gates_install_the_same_versions() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")

    assert "requirements-run.txt" in dockerfile
    assert "-r requirements-run.txt" in (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
