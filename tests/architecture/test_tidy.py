"""Style that no linter knows: sizes, names, what may be written down, and links that resolve."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
NAMES_BANNED = {"utils", "util", "helpers", "helper", "common", "manager", "handler", "misc"}
TEXT_SUFFIXES = {
    ".cfg", ".html", ".ini", ".json", ".mako", ".md", ".mk", ".proto", ".py", ".pyi",
    ".sh", ".toml", ".txt", ".yaml", ".yml",
}  # fmt: skip
TEXT_NAMES = {"Dockerfile", "Makefile", "LICENSE", "NOTICE", "run"}

# Built from parts, so that this file does not find itself.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("python" + "hosted", "org"),
        ("pypi", "python", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
        ("jsr", "io"),
        ("rubygems", "org"),
    )
]
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)(?:/|\b)")
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX|HA" + r"CK)\b")
# [text](target "title") and [name]: target; images alike.
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)


@cache
def tracked_files() -> tuple[Path, ...]:
    """Files of the repository: what git tracks, or would once added."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = (ROOT / name for name in listed.split("\0") if name)
    return tuple(sorted(path for path in found if path.is_file()))


def is_generated(path: Path) -> bool:
    return path.is_relative_to(ROOT / "weighbridge" / "v1") and path.name != "__init__.py"


def own_files() -> Iterator[Path]:
    return (path for path in tracked_files() if not is_generated(path))


def python_files() -> list[Path]:
    return [path for path in own_files() if path.suffix == ".py"]


def text_files() -> list[Path]:
    return [p for p in own_files() if p.suffix in TEXT_SUFFIXES or p.name in TEXT_NAMES]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parametrize(argument: str, paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(argument, paths, ids=name_of)


def found_in(pattern: re.Pattern[str], path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [
        f"{name_of(path)}:{number}: {line.strip()}"
        for number, line in enumerate(lines, 1)
        if pattern.search(line)
    ]


def test_the_repository_is_seen() -> None:
    names = {name_of(path) for path in python_files()}

    assert "weighbridge/rules/window.py" in names
    assert "weighbridge/v1/types_pb2.py" not in names
    assert "weighbridge/v1/types_pb2.py" in {name_of(path) for path in tracked_files()}


@parametrize("path", python_files())
def test_files_stay_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())

    assert lines <= FILE_LINES_MAX, f"{lines} lines: split it by use case"


@parametrize("path", python_files())
def test_functions_stay_short(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    long = [
        f"{node.name} has {lines} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]

    assert not long


@parametrize("path", python_files())
def test_modules_say_what_lives_there(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))

    assert docstring, "start the module with a line that says what lives there"


def test_names_say_more_than_utils() -> None:
    banned = [
        name_of(path)
        for path in python_files()
        if NAMES_BANNED & {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}
        or NAMES_BANNED & set(path.stem.split("_"))
    ]

    assert not banned


def test_nothing_is_left_for_later() -> None:
    assert not [hit for path in text_files() for hit in found_in(UNFINISHED, path)]


def test_no_package_registry_is_named() -> None:
    pattern = re.compile("|".join(map(re.escape, REGISTRY_HOSTS)))

    assert not [hit for path in text_files() for hit in found_in(pattern, path)]


def test_no_path_of_somebodys_machine() -> None:
    assert not [hit for path in text_files() for hit in found_in(MACHINE_PATH, path)]


def test_only_the_command_line_prints() -> None:
    packages = [ROOT / "weighbridge", ROOT / "sidecar", ROOT / "control_plane"]
    printing = [
        f"{name_of(path)}:{node.lineno}"
        for path in python_files()
        if any(path.is_relative_to(package) for package in packages)
        and not path.is_relative_to(ROOT / "weighbridge" / "cli")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]

    assert not printing


def test_test_modules_have_names_of_their_own() -> None:
    seen: dict[str, Path] = {}
    clashing = []
    for path in python_files():
        if path.is_relative_to(ROOT / "tests") and path.name not in {"conftest.py", "__init__.py"}:
            if path.name in seen:
                clashing.append((name_of(seen[path.name]), name_of(path)))
            seen[path.name] = path

    assert not clashing


def test_the_root_is_not_littered() -> None:
    expected = {
        ".ci", ".dockerignore", ".github", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md",
        "LICENSE", "Makefile", "NOTICE", "README.md", "bench", "buf.yaml", "control_plane",
        "deploy", "docs", "examples", "proto", "pyproject.toml", "requirements-dev.txt",
        "requirements-run.txt", "sidecar", "tests", "weighbridge",
    }  # fmt: skip
    top = {path.relative_to(ROOT).parts[0] for path in tracked_files()}

    assert not top - expected


def heading_anchors(markdown: str) -> set[str]:
    """Anchors as GitHub makes them from headings."""
    headings = re.findall(r"^#{1,6}\s+(.+?)\s*#*$", markdown, re.MULTILINE)
    bare = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in bare}


def without_code(markdown: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", markdown, flags=re.DOTALL)


@parametrize("path", [path for path in own_files() if path.suffix == ".md"])
def test_links_resolve(path: Path) -> None:
    markdown = path.read_text(encoding="utf-8")
    broken = []
    for match in LINK.finditer(without_code(markdown)):
        target = match[1] or match[2]
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        resolved = (path.parent / file).resolve() if file else path
        if not resolved.exists():
            broken.append(target)
        elif anchor and resolved.suffix == ".md":
            anchors = heading_anchors(resolved.read_text(encoding="utf-8"))
            broken += [] if anchor in anchors else [target]

    assert not broken


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text(encoding="utf-8")

    assert not [page.name for page in folder.glob("0*.md") if f"({page.name})" not in index]
