"""What `weighbridge doctor` looks at on this machine: versions, files, clocks."""

from __future__ import annotations

import platform
import stat
import sys
import time
import zoneinfo
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from weighbridge.cli.doctor_findings import Finding, fail, ok, warn

_PYTHON_MIN: Final = (3, 11)
_LIBRARIES: Final = ("grpcio", "protobuf")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def machine_findings(data_dir: Path, token_files: dict[str, Path]) -> Iterator[Finding]:
    """Yield what is seen without asking either process."""
    yield _python()
    yield _libraries()
    yield _directory(data_dir)
    for name, file in token_files.items():
        yield _token_file(name, file)
    yield _time_zones()
    yield _boot_clock()


def _python() -> Finding:
    seen = platform.python_version()
    if sys.version_info < _PYTHON_MIN:
        return fail("python", seen, "use Python 3.11 or newer")
    return ok("python", seen)


def _libraries() -> Finding:
    seen = [f"weighbridge {version('weighbridge')}"]
    for library in _LIBRARIES:
        try:
            seen.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            return fail("libraries", f"{library} is missing", "install weighbridge[all]")
    return ok("libraries", ", ".join(seen))


def _directory(data_dir: Path) -> Finding:
    check = "data directory"
    if not data_dir.is_dir():
        return warn(
            check,
            f"{data_dir} is not there",
            "nothing to do if both processes run elsewhere; else name it with --data-dir",
        )
    mode = stat.S_IMODE(data_dir.stat().st_mode)
    if mode & _OTHERS_WRITE:
        return fail(check, f"{data_dir} can be written by others", f"chmod go-w {data_dir}")
    return ok(check, f"{data_dir}, mode {mode:04o}")


def _token_file(name: str, file: Path) -> Finding:
    check = f"{name} token file"
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError as error:
        return warn(
            check,
            f"{file}: {error.strerror}",
            "the control plane writes it at its first start, in its data directory",
        )
    if mode & _OTHERS:
        return fail(check, f"{file} can be read by others (mode {mode:04o})", f"chmod 600 {file}")
    return ok(check, f"{file}, mode {mode:04o}")


def _time_zones() -> Finding:
    try:
        zoneinfo.ZoneInfo("Europe/Paris")
    except zoneinfo.ZoneInfoNotFoundError:
        return fail("time zones", "no time-zone data", "install tzdata")
    return ok("time zones", "data is there")


def _boot_clock() -> Finding:
    check = "boot clock"
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return fail(check, "this system has no CLOCK_BOOTTIME", "run the sidecar on Linux")
    hours = time.clock_gettime(time.CLOCK_BOOTTIME) / 3600
    return ok(check, f"up for {hours:,.1f} h")
