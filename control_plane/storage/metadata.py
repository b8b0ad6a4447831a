"""What the tables of all parts share: one schema, names of constraints, and types of columns."""

from __future__ import annotations

from sqlalchemy import MetaData

from control_plane.storage.types import key_text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ID = key_text(128)
KEY = key_text(256)
WORD = key_text(16)
