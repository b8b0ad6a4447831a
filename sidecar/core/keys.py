"""Idempotency keys: the same key and payload gets the first answer.

A key maps to the journal record that holds its answer; the answers themselves stay on disk. No key
is forgotten early: at capacity, calls with a new key are refused. There can be a million of them,
so each is kept as two short byte strings: a digest of the key, and where its answer lies.
"""

from __future__ import annotations

import struct
from collections import deque
from hashlib import blake2b
from typing import Final, NamedTuple

from sidecar.core.request import DIGEST_SIZE
from sidecar.core.usage import Position
from weighbridge.rules.errors import ConflictError, ResourceExhaustedError

_PACKED: Final = struct.Struct(f">{DIGEST_SIZE}sIQI")
_SLICE_MS: Final = 1_000


class KeyedAnswer(NamedTuple):
    """Where the answer to a key lies: the `number`-th answer of a journal record, from 0."""

    digest: bytes
    position: Position
    number: int


class KeyTable:
    """The keys of the last `keep_ms` milliseconds, at most `capacity` of them."""

    def __init__(self, capacity: int, keep_ms: int) -> None:
        self._capacity = capacity
        self._keep_ms = keep_ms
        self._answers: dict[bytes, bytes] = {}
        # Keys by the second they may be forgotten after, the earliest first.
        self._expiring: deque[tuple[int, list[bytes]]] = deque()

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, customer: str, key: str, digest: bytes) -> KeyedAnswer | None:
        """Return where the first answer lies.

        Raises ConflictError where the key was used with another payload.
        """
        packed = self._answers.get(_name(customer, key))
        if packed is None:
            return None
        first, epoch_index, record_number, number = _PACKED.unpack(packed)
        require_same_payload(key, first, digest)
        return KeyedAnswer(first, Position(epoch_index, record_number), number)

    def require_room(self, staged: int, now_ms: int) -> None:
        """Raise ResourceExhaustedError unless one more key fits beside those staged."""
        if len(self._answers) + staged < self._capacity:
            return
        self.expire(now_ms)
        if len(self._answers) + staged >= self._capacity:
            raise ResourceExhaustedError(
                f"idempotency_key: {self._capacity} keys are held, and none may be forgotten yet; "
                "call later, or raise idempotency_keys_max"
            )

    def add(self, customer: str, key: str, answer: KeyedAnswer, used_at_ms: int) -> None:
        """Remember where the answer to a key lies."""
        name = _name(customer, key)
        self._answers[name] = _PACKED.pack(answer.digest, *answer.position, answer.number)
        # Rounded up: no key goes early.
        expires_ms = (used_at_ms + self._keep_ms + _SLICE_MS) // _SLICE_MS * _SLICE_MS
        if not self._expiring or self._expiring[-1][0] < expires_ms:
            self._expiring.append((expires_ms, []))
        self._expiring[-1][1].append(name)

    def expire(self, now_ms: int) -> None:
        """Forget keys that were kept long enough."""
        while self._expiring and self._expiring[0][0] <= now_ms:
            for name in self._expiring.popleft()[1]:
                self._answers.pop(name, None)


def require_same_payload(key: str, first: bytes, digest: bytes) -> None:
    """Raise ConflictError unless a key is used with the payload it was first used with."""
    if digest != first:
        raise ConflictError(
            f"idempotency_key: {key!r} was used with another payload; "
            "a new call needs a new key, a retry the same payload"
        )


def _name(customer: str, key: str) -> bytes:
    # No id contains a line feed, so the pair reads one way only.
    return blake2b(f"{customer}\n{key}".encode(), digest_size=DIGEST_SIZE).digest()
