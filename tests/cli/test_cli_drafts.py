"""`weighbridge catalog draft` on a running pair."""

from __future__ import annotations

from pathlib import Path

from running_pair import CommandLine, catalog_text, wait_until

from weighbridge.cli.exit_codes import ExitCode


def test_a_draft_from_put_to_remove(cli: CommandLine, tmp_path: Path) -> None:
    cli.make_customer("shadowed")
    nothing = cli("catalog", "draft", "report")
    assert (nothing.exit_code, nothing.out) == (ExitCode.OK, "this sidecar has no draft\n")
    file = tmp_path / "draft.yaml"
    file.write_text(catalog_text(limit=2), encoding="utf-8")
    put = cli("catalog", "draft", "put", str(file))
    assert put.exit_code == ExitCode.OK, put.err
    assert "10 -> 2" in put.out
    assert "shop: draft" in put.out
    wait_until(lambda: bool(cli("catalog", "draft", "report", "shop", "--json").json["reports"]))
    for _ in range(3):
        assert cli("consume", "shadowed", "api.calls").exit_code == ExitCode.OK
    report = cli("catalog", "draft", "report", "--top", "3")
    assert "LIMIT_REACHED" in report.out
    assert "shadowed" in report.out
    (shape,) = cli("catalog", "draft", "report", "--json").json["reports"]
    assert shape["customers"] == [{"customer": "shadowed", "newly_refused": 1, "newly_allowed": 0}]
    assert {
        "feature": "api.calls",
        "live": None,
        "draft": "LIMIT_REACHED",
        "calls": 1,
    } in shape["outcomes"]

    assert cli("catalog", "draft", "show", "shop", "--document").out == file.read_text("utf-8")
    assert "10 -> 2" in cli("catalog", "draft", "show", "shop").out
    shown = cli("catalog", "draft", "show", "shop", "--json").json
    assert (shown["draft"]["catalog"], shown["diff"]["current_version"]) == ("shop", 1)
    removed = cli("catalog", "draft", "remove", "shop")
    assert removed.out == "shop: there is no draft any more\n"
    wait_until(lambda: not cli("catalog", "draft", "report", "--json").json["reports"])
    assert cli("catalog", "draft", "show", "shop").exit_code == ExitCode.NOT_FOUND
    assert cli("catalog", "draft", "remove", "shop", "--json").exit_code == ExitCode.NOT_FOUND


def test_a_document_that_is_no_draft(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "draft.yaml"
    file.write_text(catalog_text(catalog="unheard.of"), encoding="utf-8")
    assert cli("catalog", "draft", "put", str(file)).exit_code == ExitCode.NOT_FOUND
    file.write_text("catalog: shop\n", encoding="utf-8")
    put = cli("catalog", "draft", "put", str(file))
    assert put.exit_code == ExitCode.INVALID
    assert str(file) in put.err
