"""`weighbridge up` as a process: how it starts, how it ends, and what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from running_pair import START_S, STOP_S, end, first_line, is_alive, start_up, wait_until

from weighbridge.cli.exit_codes import ExitCode

TOUR = Path(__file__).parents[2] / "examples" / "tour.py"


def test_sigint_stops_both_and_ends_well(data_dir: Path) -> None:
    process = start_up(data_dir, "--json")
    line = first_line(process)
    assert line, end(process)
    pids = json.loads(line)["pids"].values()
    process.send_signal(signal.SIGINT)
    # A second signal would mean "at once".
    process.wait(STOP_S)
    exit_code, err = end(process)
    assert (exit_code, err) == (ExitCode.OK, "")
    assert not any(is_alive(pid) for pid in pids)
    assert not (data_dir / "addresses.json").exists()
    assert (data_dir / "admin.token").exists()


def test_the_panel_names_addresses_and_token_files(data_dir: Path) -> None:
    process = start_up(data_dir, "--verbose")
    try:
        shown = first_line(process).decode()
        process.terminate()
        out, err = process.communicate(timeout=STOP_S)
    finally:
        process.kill()
    shown += out.decode()
    assert "Weighbridge is up" in shown
    assert str(data_dir / "admin.token") in shown
    assert "127.0.0.1:" in shown
    assert (data_dir / "admin.token").read_text(encoding="ascii").strip() not in shown
    assert "sidecar       | " in err.decode()
    assert "control-plane | " in err.decode()


def test_a_child_that_dies_is_named(data_dir: Path) -> None:
    process = start_up(data_dir, "--json")
    line = first_line(process)
    assert line, end(process)
    pids = json.loads(line)["pids"]
    os.kill(pids["sidecar"], signal.SIGKILL)
    process.wait(START_S)
    exit_code, err = end(process)
    assert exit_code == ExitCode.FAILED
    assert err.startswith('{"error": ')
    assert "the sidecar was ended by signal 9" in json.loads(err)["error"]["message"]
    assert not is_alive(pids["control_plane"])


def test_a_catalog_that_is_invalid_ends_it(data_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("catalog: bad\n", encoding="utf-8")
    process = start_up(data_dir, f"--catalog={file}")
    assert first_line(process) == b""
    exit_code, err = end(process)
    assert exit_code == ExitCode.INVALID
    assert f"{file}:1" in err
    assert err.count("\n") == 1


def test_a_directory_is_used_once(data_dir: Path) -> None:
    process = start_up(data_dir, "--json")
    try:
        assert first_line(process)
        second = start_up(data_dir)
        assert first_line(second) == b""
        exit_code, err = end(second)
        assert exit_code == ExitCode.FAILED
        assert err.startswith(f"error: another `weighbridge up` runs in {data_dir}; ")
        assert (data_dir / "addresses.json").exists()
    finally:
        end(process)


def test_killed_up_leaves_no_orphans(data_dir: Path) -> None:
    process = start_up(data_dir, "--json")
    line = first_line(process)
    assert line, end(process)
    pids = json.loads(line)["pids"].values()
    process.kill()
    process.communicate()
    wait_until(lambda: not any(is_alive(pid) for pid in pids))


def test_tour() -> None:
    done = subprocess.run(
        [sys.executable, str(TOUR), "--once"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NO " not in done.stdout
    assert "the plan changed while the application asks" in done.stdout
    assert "limits.day.limit 5 -> 8" in done.stdout
    assert "0 available, 0 reserved, 30 settled" in done.stdout
    assert "items, then 0 items" in done.stdout
    assert done.stderr == ""
