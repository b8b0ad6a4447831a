"""The command line without processes: validation, schema, help, exit codes, spelling."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from weighbridge.cli.entitlements_view import entitlements_view
from weighbridge.cli.exit_codes import MEANINGS, CommandError, ExitCode, UsageError
from weighbridge.cli.instants import format_duration, format_instant, parse_instant
from weighbridge.cli.json_shapes import message_to_json
from weighbridge.cli.limit_text import parse_limit
from weighbridge.cli.ports import settle_ports
from weighbridge.cli.probe import metrics_of
from weighbridge.cli.root import COMMANDS, run
from weighbridge.cli.settings_environment import settings_environment
from weighbridge.cli.window_text import window_text
from weighbridge.runtime.clock import wall_ms
from weighbridge.v1 import admin_service_pb2, sidecar_service_pb2, types_pb2

EXAMPLES = Path(__file__).parents[2] / "examples" / "catalogs"
BROKEN = """catalog: broken
features:
  api.calls: {type: metered}
plans:
  free:
    features:
      api.calls: {limits: [{limit: 5, window: month}]}
    colour: blue
"""


@pytest.fixture(name="broken")
def broken_file(tmp_path: Path) -> Path:
    file = tmp_path / "broken.yaml"
    file.write_text(BROKEN, encoding="utf-8")
    return file


def test_example_catalogs_are_valid(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(file) for file in sorted(EXAMPLES.glob("*.yaml"))]
    assert run(["catalog", "validate", "--json", *files]) == ExitCode.OK
    shapes = json.loads(capsys.readouterr().out)["files"]
    assert len(shapes) == len(files) == 6
    assert all(shape["valid"] and shape["error"] is None for shape in shapes)


def test_valid_files_are_listed_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "validate", str(EXAMPLES / "freemium.yaml")]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "freemium" in out
    assert "sandbox" in out


def test_an_invalid_file_is_one_line_with_file_line_and_path(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["catalog", "validate", str(broken)]) == ExitCode.INVALID
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {broken}:8: plans.free.colour: ")
    assert err.count("\n") == 1


def test_an_invalid_file_as_json(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "validate", "--json", str(broken)]) == ExitCode.INVALID
    out, err = capsys.readouterr()
    (shape,) = json.loads(out)["files"]
    assert shape["valid"] is False
    assert (shape["error"]["line"], shape["error"]["path"]) == (8, "plans.free.colour")
    error = json.loads(err)["error"]
    assert (error["code"], error["exit_code"]) == ("INVALID", 3)


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "validate", "nowhere.yaml"]) == ExitCode.INVALID
    err = capsys.readouterr().err
    assert err == "error: cannot read nowhere.yaml: No such file or directory\n"


def test_schema_is_a_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "schema"]) == ExitCode.OK
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert {"catalog", "features", "plans"} <= schema["properties"].keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == ExitCode.OK
    assert f"Usage: weighbridge {command}" in capsys.readouterr().out


def test_bare_command_shows_help_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == ExitCode.USAGE
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)
    assert "Exit codes: 0 " in out


def test_documented_exit_codes() -> None:
    page = (EXAMPLES.parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
    for code, meaning in MEANINGS.items():
        assert f"| {code.value} | {code.name} | {meaning} |" in page


def test_every_command_is_documented() -> None:
    page = (EXAMPLES.parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
    assert all(f"weighbridge {command}" in page for command in COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["check", "acme"],
        ["check", "acme", "api.calls", "--amount", "many"],
        ["check", "acme", "api.calls", "--no-such-option"],
        ["check", "acme", "api.calls", "--sidecar", "nowhere"],
        ["consume", "acme", "api.calls", "--dimension", "model"],
        ["consume", "acme", "api.calls", "--dimension", "a=1", "--dimension", "a=2"],
        ["report", "acme"],
        ["report", "acme", "api.calls", "--file", "usage.csv"],
        ["report", "acme", "api.calls", "--at", "yesterday"],
        ["customer", "create"],
        ["customer"],
        ["subscription", "set", "acme", "pro", "--add-on", "seat=x"],
        ["override", "set", "acme", "api.calls", "--limit", "month"],
        ["override", "set", "acme", "api.calls", "--disabled", "--number", "5"],
        ["usage", "--group-by", "colour"],
        ["usage", "--from", "2026-99-01"],
        ["sidecar", "--set", "nothing"],
        ["up", "--sidecar-port", "70000"],
    ],
)
def test_wrong_command_lines(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_wrong_command_line_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "acme", "--json"]) == ExitCode.USAGE
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == "USAGE"
    assert "FEATURE" in error["message"]


def test_sidecar_away(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert run(["check", "acme", "api.calls", "--sidecar", address]) == ExitCode.UNAVAILABLE
    err = capsys.readouterr().err
    assert err.startswith(f"error: cannot reach the sidecar at {address}: ")
    assert err.count("\n") == 1


def test_control_plane_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = tmp_path / "admin.token"
    token.write_text("wb_not_a_token_of_anyone\n", encoding="ascii")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        where = ["--control-plane", address, "--token-file", str(token)]
        assert run(["catalog", "list", *where]) == ExitCode.UNAVAILABLE
    out, err = capsys.readouterr()
    assert "cannot reach the control plane" in err
    assert "wb_not_a_token_of_anyone" not in out + err


def test_no_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "admin.token"
    assert run(["catalog", "list", "--token-file", str(file)]) == ExitCode.UNAUTHENTICATED
    err = capsys.readouterr().err
    assert str(file) in err
    assert "WEIGHBRIDGE_ADMIN_TOKEN_FILE" in err


def test_report_file_is_checked_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "usage.csv"
    file.write_text("customer,feature,amount\nacme,api.calls,1\nacme,api.calls,x\n", "utf-8")
    # No sidecar runs: what is told is the file.
    assert run(["report", "--file", str(file), "--sidecar", "127.0.0.1:1"]) == ExitCode.INVALID
    assert f"{file}:3: amount: 'x' is not an integer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("customer,amount\n", ":1: no column feature"),
        ("customer,feature,colour\n", ":1: unknown column colour"),
        ("customer,feature\nacme\n", ":2: not as many cells"),
        ("customer,feature,occurred_at\na,b,soon\n", ":2: occurred_at: 'soon' is no instant"),
    ],
)
def test_bad_report_files(
    text: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "usage.csv"
    file.write_text(text, encoding="utf-8")
    assert run(["report", "--file", str(file)]) == ExitCode.INVALID
    assert f"{file}{problem}" in capsys.readouterr().err


def test_up_names_the_port_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        arguments = ["up", "--data-dir", str(tmp_path / "data"), "--control-plane-port", str(port)]
        zeros = [f"--{name}-port=0" for name in ("sidecar", "sidecar-probe", "control-plane-probe")]
        assert run([*arguments, *zeros]) == ExitCode.FAILED
    err = capsys.readouterr().err
    assert err.startswith(f"error: port {port} of 127.0.0.1 is in use; ")
    assert "--control-plane-port" in err
    assert err.count("\n") == 1


def test_free_ports_differ() -> None:
    ports = settle_ports({"--a": 0, "--b": 0, "--c": 0})
    assert len(set(ports.values())) == 3
    assert all(ports.values())


def test_start_of_the_sidecar_is_light() -> None:
    """`weighbridge sidecar` becomes the sidecar: it loads neither gRPC nor rich before that."""
    code = (
        "import sys, os; os.execve = lambda *_: sys.exit(0)\n"
        "from weighbridge.cli.root import run\n"
        "try: run(['sidecar', '--mode', 'all'])\n"
        "finally: print([name for name in ('grpc', 'rich.table') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("process", ["sidecar", "control-plane"])
def test_a_process_takes_the_place_of_the_command(process: str) -> None:
    command = [sys.executable, "-m", "weighbridge.cli", process, "--set", "no_such=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == ExitCode.USAGE
    prefix = f"WEIGHBRIDGE_{process.upper().replace('-', '_')}_"
    assert done.stderr.startswith(f"error: {prefix}NO_SUCH: is not a setting")


def test_settings_environment() -> None:
    variables = settings_environment(
        "P_", {"listen": "h:1", "mode": None, "anywhere": True}, ["log_level=debug"]
    )
    assert variables == {"P_LISTEN": "h:1", "P_ANYWHERE": "true", "P_LOG_LEVEL": "debug"}


def test_instants() -> None:
    assert parse_instant("1970-01-01T00:00:01") == 1_000
    assert parse_instant("1970-01-01T01:00:01+01:00") == 1_000
    assert parse_instant("2026-11-23") == 1_795_392_000_000
    now_ms = wall_ms()
    assert 0 <= parse_instant("24h") - (now_ms - 86_400_000) < 5_000
    assert 0 <= parse_instant("+7d") - (now_ms + 604_800_000) < 5_000
    with pytest.raises(UsageError):
        parse_instant("tomorrow")


def test_times_as_read() -> None:
    assert format_instant(1_795_392_000_000) == "2026-11-23 00:00:00Z"
    assert format_instant(10**18).endswith(" ms")
    assert format_duration(90_061_000) == "1 d 1 h"
    assert format_duration(61_000) == "1 min 1 s"
    assert format_duration(5) == "5 ms"


def test_limits_as_written() -> None:
    assert parse_limit("month=500") == types_pb2.Limit(id="month", limit=500)
    assert parse_limit("month=unlimited") == types_pb2.Limit(id="month")
    written = parse_limit("burst=5,hard,calendar:day:Europe/Paris")
    assert written.kind == types_pb2.LIMIT_KIND_HARD
    assert written.window == types_pb2.Window(
        kind=types_pb2.WINDOW_KIND_CALENDAR,
        period=types_pb2.WINDOW_PERIOD_DAY,
        time_zone="Europe/Paris",
    )
    assert parse_limit("all=5,soft,lifetime").window.kind == types_pb2.WINDOW_KIND_LIFETIME
    rolled = types_pb2.Window(kind=types_pb2.WINDOW_KIND_ROLLING, length_ms=18_000_000)
    assert parse_limit("burst=5,hard,rolling:5h").window == rolled
    assert window_text(rolled) == "rolling 5h"
    session = types_pb2.Window(kind=types_pb2.WINDOW_KIND_SESSION, length_ms=90_000_000)
    assert parse_limit("burst=5,hard,session:1d1h").window == session


@pytest.mark.parametrize(
    "text",
    [
        "month",
        "=5",
        "m=-5",
        "m=5,firm",
        "m=5,hard,calendar",
        "m=5,hard,lifetime:day",
        "m=5,a,b,c",
    ],
)
def test_limits_that_are_none(text: str) -> None:
    with pytest.raises(CommandError, match="--limit"):
        parse_limit(text)


def test_when_windows_reset() -> None:
    feature = types_pb2.FeatureEntitlement(
        feature="calls", type=types_pb2.FEATURE_TYPE_METERED, enabled=True
    )
    for kind, length_ms in (
        (types_pb2.WINDOW_KIND_LIFETIME, 0),
        (types_pb2.WINDOW_KIND_SESSION, 18_000_000),
        (types_pb2.WINDOW_KIND_ROLLING, 18_000_000),
    ):
        usage = feature.limits.add()
        usage.limit.limit = 5
        usage.limit.window.kind = kind
        usage.limit.window.length_ms = length_ms
    console = Console(width=120, record=True, file=StringIO())
    console.print(entitlements_view(types_pb2.CustomerEntitlements(features=[feature])))
    lifetime, session, rolling = console.export_text().rstrip().splitlines()[-3:]
    assert "lifetime" in lifetime
    assert "never" in lifetime
    assert "session 5h" in session
    assert "none open" in session
    assert "rolling 5h" in rolling
    assert "never" not in rolling


@pytest.mark.parametrize("length", ["", ":", ":5", ":month", ":367d", ":0h"])
def test_lengths_that_are_none(length: str) -> None:
    with pytest.raises(CommandError, match="is no length from 1m to 366d"):
        parse_limit(f"m=5,hard,rolling{length}")


def test_json_shapes_name_every_field() -> None:
    decision = types_pb2.Decision(
        reason=types_pb2.REASON_LIMIT_REACHED,
        limit=10**15,
        upgrade_hints=[types_pb2.UpgradeHint(plan="pro")],
    )
    shape = message_to_json(sidecar_service_pb2.CheckResponse(decision=decision))["decision"]
    assert shape["reason"] == "LIMIT_REACHED"
    assert shape["limit"] == 10**15
    assert shape["decided_by"] is None
    assert shape["used"] is None
    assert shape["allowed"] is False
    assert shape["upgrade_hints"] == [
        {"plan": "pro", "add_on": None, "name": "", "offer": None},
    ]
    assert set(shape) == {field.name for field in types_pb2.Decision.DESCRIPTOR.fields}


def test_json_shapes_of_maps_and_unknown_enums() -> None:
    request = sidecar_service_pb2.ConsumeRequest(dimensions={"model": "small"})
    assert message_to_json(request)["dimensions"] == {"model": "small"}
    change = admin_service_pb2.CatalogChange(kind=99)  # type: ignore[arg-type]
    assert message_to_json(change)["kind"] == "99"


def test_metrics_without_labels() -> None:
    text = '# HELP a b\na 1.0\nb{x="y"} 2\nc 3e3 1700000000\n'
    assert metrics_of(text) == {"a": 1.0, "c": 3000.0}
