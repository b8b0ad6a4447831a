"""The table of idempotency keys."""

from __future__ import annotations

import pytest

from sidecar.core.keys import KeyedAnswer, KeyTable
from sidecar.core.usage import Position
from weighbridge.rules.errors import ResourceExhaustedError

ANSWER = KeyedAnswer(b"d" * 16, Position(3, 7), 2)


def test_staged_keys_need_room_too() -> None:
    table = KeyTable(3, 1000)
    table.add("acme", "a", ANSWER, 0)
    table.require_room(1, 0)
    with pytest.raises(ResourceExhaustedError):
        table.require_room(2, 0)


def test_an_answer_is_found_where_it_was_put_and_only_for_its_customer() -> None:
    table = KeyTable(3, 1000)
    table.add("acme", "a", ANSWER, 0)
    assert table.find("acme", "a", ANSWER.digest) == ANSWER
    assert table.find("other", "a", ANSWER.digest) is None


def test_a_clock_that_goes_back_forgets_no_key_early() -> None:
    table = KeyTable(10, 1000)
    table.add("acme", "late", ANSWER, 10_000)
    table.add("acme", "early", ANSWER, 0)
    table.expire(2_000)
    assert table.find("acme", "early", ANSWER.digest) == ANSWER
    table.expire(12_000)
    assert len(table) == 0
