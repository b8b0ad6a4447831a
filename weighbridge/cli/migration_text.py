"""How customers move to new plan versions, as written on the command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, NamedTuple

import typer

from weighbridge.cli.exit_codes import UsageError
from weighbridge.v1 import types_pb2

_MIGRATIONS: Final = {
    "now": types_pb2.MIGRATION_NOW,
    "at_period_end": types_pb2.MIGRATION_AT_PERIOD_END,
    "new_customers": types_pb2.MIGRATION_NEW_CUSTOMERS,
}

MigrationOption = Annotated[
    list[str] | None,
    typer.Option(
        "--migration",
        metavar="[PLAN=]WHEN",
        help="When those on a plan that changes move: now (if not given), at_period_end or "
        "new_customers (never); of one plan, or of all that are not named; repeatable",
    ),
]


class Migrations(NamedTuple):
    """Fields of a request."""

    migration: types_pb2.Migration.ValueType
    plan_migrations: dict[str, types_pb2.Migration.ValueType]


def parse_migrations(texts: Iterable[str]) -> Migrations:
    """Return what is written. Raises UsageError quoting what is wrong."""
    general = types_pb2.MIGRATION_UNSPECIFIED
    of_plans = {}
    for text in texts:
        plan, equals, when = text.rpartition("=")
        if when not in _MIGRATIONS or (equals and not plan):
            raise UsageError(f"--migration {text}: write [PLAN=]{'|'.join(_MIGRATIONS)}")
        if not equals and general:
            raise UsageError(f"--migration {text}: all plans have one already; name a plan")
        if plan in of_plans:
            raise UsageError(f"--migration {text}: plan {plan} has one already")
        if equals:
            of_plans[plan] = _MIGRATIONS[when]
        else:
            general = _MIGRATIONS[when]
    return Migrations(general, of_plans)
