"""Idempotency keys of scope `fleet`: the same call that reached two sidecars settles once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, tuple_

from control_plane.storage.rows import insert_rows, rows_by_key
from control_plane.storage.tables import usage_key

KEY_KEPT_MS: Final = 24 * 3_600_000
KEYS_PER_QUERY: Final = 400

CustomerKey = tuple[str, str]
"""A customer and an idempotency key."""


class KeyUse(NamedTuple):
    """One use of a key, with the digest of the request that it came with."""

    key: CustomerKey
    digest: bytes


class KeyVerdicts(NamedTuple):
    """Which uses are not to be settled, by their place in the sequence."""

    repeated: frozenset[int]
    conflicting: frozenset[int]


def claim_keys(connection: Connection, uses: Sequence[KeyUse], now_ms: int) -> KeyVerdicts:
    """Bind each key that is new to its digest, and tell those that were bound before."""
    bound = _bound(connection, {use.key for use in uses}, now_ms)
    fresh: dict[CustomerKey, bytes] = {}
    repeated: set[int] = set()
    conflicting: set[int] = set()
    for index, (key, digest) in enumerate(uses):
        first = bound.get(key)
        if first is None:
            bound[key] = fresh[key] = digest
        elif first == digest:
            repeated.add(index)
        else:
            conflicting.add(index)
    expires_at_ms = now_ms + KEY_KEPT_MS
    insert_rows(
        connection,
        usage_key,
        [column.name for column in usage_key.columns],
        [(*key, digest, expires_at_ms) for key, digest in fresh.items()],
    )
    return KeyVerdicts(frozenset(repeated), frozenset(conflicting))


def _bound(
    connection: Connection, keys: Iterable[CustomerKey], now_ms: int
) -> dict[CustomerKey, bytes]:
    """Return what is bound; keys whose time ran out are freed."""
    bound: dict[CustomerKey, bytes] = {}
    expired: list[CustomerKey] = []
    place = ("customer_id", "idempotency_key")
    for customer, key, digest, expires_at_ms in rows_by_key(connection, usage_key, place, keys):
        if expires_at_ms > now_ms:
            bound[customer, key] = digest
        else:
            expired.append((customer, key))
    table = usage_key.c
    for first in range(0, len(expired), KEYS_PER_QUERY):
        chunk = expired[first : first + KEYS_PER_QUERY]
        connection.execute(
            delete(usage_key).where(tuple_(table.customer_id, table.idempotency_key).in_(chunk))
        )
    return bound
