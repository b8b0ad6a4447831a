"""YAML that is not read: broken, tricky or too large; told with a line, and soon."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml
from catalog_samples import SAMPLE, changed, error_of
from hypothesis import given
from hypothesis import strategies as st

from control_plane.catalog import compile_catalog, load_document, yaml_source
from weighbridge.rules.errors import InvalidArgumentError

EXAMPLES = sorted(Path(__file__).parents[2].glob("examples/catalogs/*.yaml"))


@pytest.fixture(params=["libyaml", "pure Python"], autouse=True)
def _each_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pure Python":
        monkeypatch.setattr(yaml_source, "_LOADER", yaml.SafeLoader)
    else:
        assert yaml.__with_libyaml__


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"

CASES = {
    "unclosed list": ("catalog: [mail\nfeatures: {}\n", 2, "is not YAML"),
    "unclosed quote": ('catalog: "mail\n', 2, "is not YAML"),
    "tab for a blank": ("catalog: mail\nfeatures:\n\tmails: {}\n", 3, "is not YAML"),
    "wrong indentation": ("catalog: mail\n  features: {}\n", 2, "is not YAML"),
    "empty": ("", 1, "is empty; it begins with `catalog: ID`"),
    "comments only": ("# nothing\n# yet\n", 1, "is empty"),
    "null": ("null\n", 1, "is empty"),
    "list": ("- catalog\n", 1, "must be a mapping, but is a list"),
    "text": ("catalog\n", 1, "must be a mapping, but is the text 'catalog'"),
    "two documents": ("catalog: a\n---\ncatalog: b\n", 2, "a second document begins"),
    "alias bomb": (BOMB, 1, "the anchor &a is refused"),
    "alias": ("catalog: *a\n", 1, "the alias *a is refused"),
    "alias as a key": ("*a : 1\n", 1, "the alias *a is refused"),
    "merge key": ("catalog: mail\n<<: {a: 1}\n", 2, "is not a key here"),
    "Python tag": ("catalog: !!python/name:os.system x\n", 1, "the tag 'tag:yaml.org,2002:python"),
    "own tag": ("catalog: mail\nfeatures: !secret x\n", 2, "the tag '!secret' is refused"),
    "tag on a mapping": ("!!map {catalog: mail}\n", 1, "the tag 'tag:yaml.org"),
    "list as a key": ("? [a]\n: 1\n", 1, "has a list or mapping as a key"),
    "mapping as a key": ("{a: 1}: 1\n", 1, "has a list or mapping as a key"),
    "zero byte": ("catalog: mail\ndescription: \x00\n", 2, r"holds the character '\x00'"),
    "lone surrogate": ("catalog: \ud800\n", 1, r"holds the character '\ud800'"),
    "deep": ("a: " + "[" * 17 + "]" * 17, 1, "is nested more than 16 levels deep"),
    "very deep": ("[" * 500_000, 1, "is nested more than 16 levels deep"),
    "very deep mappings": ("{a: " * 200_000, 1, "is nested more than 16 levels deep"),
    "many values": ("- 1\n" * 200_000, 100_000, "is the value after 100000"),
    "many characters": (f"catalog: {'x' * 1_048_576}", 1, "is larger than 1048576 bytes"),
    "many bytes": (f"catalog: {'ä' * 600_000}", 1, "is larger than 1048576 bytes"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_with_a_line(case: str) -> None:
    text, line, problem = CASES[case]
    _, told_line, told_problem = error_of(text)
    assert told_problem.startswith(problem)
    assert told_line == line
    assert len(told_problem) < 400


def test_a_duplicate_before_broken_yaml_is_told_first() -> None:
    assert error_of("catalog: a\ncatalog: b\nfeatures: [\n")[:2] == ("catalog", 2)


def test_long_keys_and_values_are_cut_in_messages() -> None:
    path, _, problem = error_of(f"{'k' * 500} x: 1\n{SAMPLE}")
    assert len(path) < 80
    assert "is not a key here" in problem
    assert len(error_of(changed(("catalog: mail", f"catalog: {'x' * 5000}")))[2]) < 200


def test_a_byte_order_mark_is_no_matter() -> None:
    assert load_document("\ufeff" + SAMPLE, "m") == load_document(SAMPLE, "m")


def test_words_of_yaml_1_1_are_texts() -> None:
    document = load_document(
        "catalog: 'on'\nfeatures:\n  f: {type: enum, values: [on, off, yes, no, y, 2026-01-01]}\n"
        "plans:\n  no: {name: 12:30:45, features: {f: [no, on]}}\n",
        "m",
    )
    plan = compile_catalog(document, 1).plan("no")
    assert plan is not None
    assert plan.name == "12:30:45"
    assert plan.entitlements["f"].values == ("on", "no")


def is_refused_with_a_line(text: str) -> bool:
    """Whether a text is refused, rightly told; else it compiles."""
    try:
        document = load_document(text, "file")
    except InvalidArgumentError as error:
        if not error.problem.startswith("file:"):
            raise
        return True
    compile_catalog(document, 1)
    return False


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_broken_examples_get_one_clear_error_or_load(path: Path) -> None:
    chance = random.Random(path.name)
    text = path.read_text("utf-8")
    refused = 0
    for _ in range(150):
        broken = list(text)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(broken))
            broken[at : at + chance.choice((0, 1, 8))] = chance.choice(
                "{}[]:,-&*!|>'\"\n\t x0#?%@`"
            )
        refused += is_refused_with_a_line("".join(broken))
    assert refused > 10


@given(st.text(max_size=200))
def test_any_text_is_refused_or_loads(text: str) -> None:
    is_refused_with_a_line(text)
