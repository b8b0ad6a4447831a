"""Tables whose rows stay: the database itself refuses to change or remove them, whoever asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import Connection, Table, event, text

FUNCTION: Final = "weighbridge_refuse_change"

CREATE_FUNCTION: Final = f"""
CREATE OR REPLACE FUNCTION {FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$
"""
"""For PostgreSQL, before the first of its triggers."""

DROP_FUNCTION: Final = f"DROP FUNCTION {FUNCTION}()"


def append_only_triggers(
    engine: str, table: str, kept: Sequence[str] | None = None
) -> Iterator[str]:
    """Return the statements that make rows of a table stay.

    `kept`: the columns that may not change, where others may; else none may.
    """
    columns = f" OF {', '.join(kept)}" if kept else ""
    if engine == "postgresql":
        for name, what in (("update", f"UPDATE{columns} OR DELETE"), ("truncate", "TRUNCATE")):
            each = "ROW" if name == "update" else "STATEMENT"
            yield (
                f"CREATE TRIGGER {table}_keeps_{name} BEFORE {what} ON {table} "
                f"FOR EACH {each} EXECUTE FUNCTION {FUNCTION}()"
            )
        return
    for name, what in (("update", f"UPDATE{columns}"), ("delete", "DELETE")):
        yield (
            f"CREATE TRIGGER {table}_keeps_{name} BEFORE {what} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def refuse_changes(table: Table) -> None:
    """Have the table made with triggers that refuse every change and removal of its rows."""
    _attach(table, None)


def keep_terms(table: Table, changing: Sequence[str]) -> None:
    """Have the table made with triggers that let its rows change in some columns only."""
    _attach(table, [column.name for column in table.columns if column.name not in changing])


def _attach(table: Table, kept: Sequence[str] | None) -> None:
    def after_create(_table: object, connection: Connection, **_: object) -> None:
        engine = connection.dialect.name
        if engine == "postgresql":
            connection.execute(text(CREATE_FUNCTION))
        for statement in append_only_triggers(engine, table.name, kept):
            connection.execute(text(statement))

    event.listen(table, "after_create", after_create)
