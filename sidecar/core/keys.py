"""Idempotency keys: the same key and payload gets the first answer.

A key maps to the journal record that holds its answer; the answers themselves stay on disk. No key
is forgotten early: at capacity, calls with a new key are refused.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from sidecar.core.usage import Position
from weighbridge.rules.errors import ConflictError, ResourceExhaustedError


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
        self._answers: dict[str, KeyedAnswer] = {}
        self._expiring: deque[tuple[int, str]] = deque()

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, customer: str, key: str, digest: bytes) -> KeyedAnswer | None:
        """Return where the first answer lies.

        Raises ConflictError where the key was used with another payload.
        """
        answer = self._answers.get(_scoped(customer, key))
        if answer is not None:
            require_same_payload(key, answer.digest, digest)
        return answer

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
        scoped = _scoped(customer, key)
        self._answers[scoped] = answer
        self._expiring.append((used_at_ms + self._keep_ms, scoped))

    def expire(self, now_ms: int) -> None:
        """Forget keys that were kept long enough."""
        while self._expiring and self._expiring[0][0] <= now_ms:
            self._answers.pop(self._expiring.popleft()[1], None)


def require_same_payload(key: str, first: bytes, digest: bytes) -> None:
    """Raise ConflictError unless a key is used with the payload it was first used with."""
    if digest != first:
        raise ConflictError(
            f"idempotency_key: {key!r} was used with another payload; "
            "a new call needs a new key, a retry the same payload"
        )


def _scoped(customer: str, key: str) -> str:
    # No id contains a line feed, so the pair reads one way only.
    return f"{customer}\n{key}"
