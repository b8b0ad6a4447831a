"""PostgreSQL: one session that writes, serializable, and a few that only read.

Every statement of Weighbridge's is the same on both engines; what differs is in this module.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from weighbridge.rules.errors import FailedPreconditionError, UnavailableError, WeighbridgeError

DRIVER: Final = "postgresql+psycopg"
SERVER_VERSION_MIN: Final = 14
_VERSION_UNIT: Final = 10_000
"""The server numbers itself in ten-thousandths: 150018 is 15.18."""

LOCK_ID: Final = int.from_bytes(b"weighbrg", "big")
LOCK_WAIT_MS: Final = 3_000
"""How long a start waits for a control plane that was killed a moment ago to be noticed."""

POOL_TIMEOUT_S: Final = 10.0

_LOCK_NOT_AVAILABLE: Final = "55P03"
# Serialization failure and deadlock.
_CONFLICTS: Final = frozenset({"40001", "40P01"})
# A key that the transaction itself saw free: PostgreSQL says so rather than that it lost.
_KEY_TAKEN: Final = "23505"
_READ_ONLY: Final = "25006"

_SESSION: Final = {
    # As long as SQLite's writers wait for each other.
    "lock_timeout": "10s",
    # Whoever holds locks and went away, or was suspended, must not stop everything for hours.
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_WRITING: Final = {**_SESSION, "default_transaction_read_only": "off"}
_READING: Final = {**_SESSION, "default_transaction_read_only": "on"}

# What is acknowledged to a sidecar must survive a power cut; every setting but this one does that.
_DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') = 'off'"
)

# For the client's side of a connection; what the URL says goes first.
_CONNECT_ARGS: Final = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    # What was written must be read at once, so no standby will do.
    "target_session_attrs": "primary",
    "application_name": "weighbridge-control-plane",
}


class PostgresEngines(NamedTuple):
    """Where transactions begin that write, and those that only read."""

    writing: Engine
    reading: Engine


def postgres_engines(url: URL, readers: int, *, is_exclusive: bool) -> PostgresEngines:
    """Make both engines. Raises FailedPreconditionError where the driver is not installed.

    `is_exclusive`: the one session that writes holds a lock, so that no other control plane can.
    """
    args = {name: value for name, value in _CONNECT_ARGS.items() if name not in url.query}
    writing = _engine(url, args, "SERIALIZABLE", (1, 0) if is_exclusive else (1, readers))
    event.listen(writing, "connect", _Session(url, _WRITING).open)
    if is_exclusive:
        event.listen(writing, "connect", _WriterLock(url).take)
    reading = _engine(url, args, "REPEATABLE READ", (readers, 1))
    event.listen(reading, "connect", _Session(url, _READING).open)
    return PostgresEngines(writing, reading)


def _engine(url: URL, args: dict[str, str], isolation: Any, pool: tuple[int, int]) -> Engine:
    size, overflow = pool
    try:
        return create_engine(
            url.set(drivername=DRIVER),
            connect_args=args,
            isolation_level=isolation,
            pool_size=size,
            max_overflow=overflow,
            pool_timeout=POOL_TIMEOUT_S,
            # After a restart of the server, no transaction fails for a connection of before.
            pool_pre_ping=True,
            hide_parameters=True,
        )
    except ModuleNotFoundError as error:
        raise FailedPreconditionError(
            f"a PostgreSQL database needs the driver {error.name}; "
            "install weighbridge with the extra `postgres`"
        ) from error


class _Session:
    """Checks the server of a new connection, and sets the session up."""

    def __init__(self, url: URL, parameters: dict[str, str]) -> None:
        self._place = place_of(url)
        self._parameters = parameters

    def open(self, connection: Any, _record: object) -> None:
        try:
            self._require_server(connection)
            _execute(connection, *(_set(*each) for each in self._parameters.items()), _DURABLE)
        except BaseException:
            connection.close()
            raise

    def _require_server(self, connection: Any) -> None:
        version = connection.info.server_version // _VERSION_UNIT
        if version < SERVER_VERSION_MIN:
            raise FailedPreconditionError(
                f"{self._place} is PostgreSQL {version}; {SERVER_VERSION_MIN} or newer is needed"
            )
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise FailedPreconditionError(
                f"{self._place} is encoded in {encoding}; make a database with ENCODING 'UTF8'"
            )


class _WriterLock:
    """An advisory lock of the session that writes: whoever writes holds it, always.

    A session that is lost loses it, and the next one must take it again before it can write. So two
    control planes never write in turns, not even one that was cut off and comes back.
    """

    def __init__(self, url: URL) -> None:
        self._place = place_of(url)
        self._was_held = False

    def take(self, connection: Any, _record: object) -> None:
        try:
            _execute(
                connection,
                _set("lock_timeout", f"{LOCK_WAIT_MS}ms"),
                f"SELECT pg_advisory_lock({LOCK_ID})",
                _set("lock_timeout", _SESSION["lock_timeout"]),
            )
        except BaseException as error:
            connection.close()
            if getattr(error, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
                raise self._refusal() from error
            raise
        self._was_held = True

    def _refusal(self) -> WeighbridgeError:
        message = f"another control plane uses {self._place}"
        if self._was_held:
            # It may as well be this one's last session, which the server has yet to give up.
            return UnavailableError(f"{message} since the connection was lost; stop one of them")
        return FailedPreconditionError(f"{message}; stop it or choose another database_url")


def _set(name: str, value: str) -> str:
    return f"SET {name} = '{value}'"


def _execute(connection: Any, *statements: str) -> None:
    """Execute statements outside of any transaction. A connection that fails is to be closed."""
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.autocommit = False


def place_of(url: URL) -> str:
    """Name a database in a message: never its password."""
    where = url.host or url.query.get("host") or "the default host"
    name = url.database or "of the user's name"
    port = f":{url.port}" if url.port else ""
    return f"the database {name} on {where if isinstance(where, str) else ', '.join(where)}{port}"


def is_conflict(error: DBAPIError) -> bool:
    """Whether the transaction lost against another one, and may pass when it is run again."""
    return _sqlstate(error) in _CONFLICTS


def is_key_taken(error: DBAPIError) -> bool:
    """Whether a key was there already: by a conflict, or by a defect, which running again tells."""
    return _sqlstate(error) == _KEY_TAKEN


def is_passing(error: DBAPIError) -> bool:
    """Whether it is the server's state that is in the way, such as that it became a standby."""
    return _sqlstate(error) == _READ_ONLY


def _sqlstate(error: DBAPIError) -> object:
    return getattr(error.orig, "sqlstate", None)
