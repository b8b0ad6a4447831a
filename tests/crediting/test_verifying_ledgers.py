"""Verification: a row of any table that is off by one unit is named; and nothing can be changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from credited import DAY_MS, NOW_MS, Credited
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from control_plane.crediting import presume
from control_plane.crediting.conservation import Terms, conservation_terms, not_conserved
from control_plane.crediting.granting import book_expiries
from control_plane.crediting.verifying import DIFFERENCES_MAX, Difference, verify_ledgers
from control_plane.storage.database import Database
from weighbridge.rules.ledger import Rollover


@pytest.fixture
def busy(database_url: str) -> Iterator[Credited]:
    """Make a ledger that has every kind of transaction, and is not asked to be sound at the end."""
    database = Database(database_url)
    database.migrate()
    credited = Credited(database)
    credited.grant(100, key="g1", rollover=Rollover("s", 5, NOW_MS + DAY_MS))
    credited.charge(30, key="c1")
    credited.charge(20, key="c2")
    credited.reverse("c1")
    credited.reverse("c2", 5)
    credited.charge(200, overage_max=None, key="c3")
    credited.grant(50)
    credited.adjust(7, -3)
    credited.carve("lease-1", 9)
    credited.post(lambda book: presume(book, "lost", "lease-1", NOW_MS))
    credited.carve("lease-2", 4)
    credited.reverse("c2", 7)
    credited.now_ms += DAY_MS
    credited.post(book_expiries)
    credited.require_sound()
    yield credited
    database.close()


def differences(credited: Credited) -> tuple[Difference, ...]:
    with credited.database.reading() as connection:
        return verify_ledgers(connection).differences


def test_it_says_what_it_looked_at(busy: Credited) -> None:
    with busy.database.reading() as connection:
        found = verify_ledgers(connection)
    assert found.ledgers == 1
    assert (found.transactions, found.grants) == (11, 2)
    assert found.differences == ()


NUMBERS = {
    "credit_balance": [
        "number", "granted", "overage", "settled", "presumed", "expired", "withdrawn",
    ],
    "credit_grant": ["amount", "balance", "reserved"],
    "credit_tranche": ["amount"],
    "ledger_entry": ["amount"],
    "ledger_transaction": ["amount"],
}  # fmt: skip


@pytest.mark.parametrize("change", ["+ 1", "- 1"])
@pytest.mark.parametrize(
    ("table", "column"), [(table, each) for table in NUMBERS for each in NUMBERS[table]]
)
def test_one_unit_is_named(busy: Credited, table: str, column: str, change: str) -> None:
    busy.spoil_last(table, column, change)

    found = differences(busy)

    named = {each.table for each in found}
    # What hands a part of a grant out is told from the grant's side.
    expected = "credit_grant" if table == "credit_tranche" else table
    assert expected in named, found
    assert all(each.expected != each.found for each in found)


@pytest.mark.parametrize(
    "change",
    [
        "ledger_entry SET amount = amount + 1 WHERE number = 3 AND account = 'spent'",
        "ledger_entry SET amount = amount + 1 WHERE number = 1 AND account = 'issued'",
        "credit_grant SET balance = balance + 1 WHERE id = 1",
        "credit_tranche SET amount = amount + 1",
    ],
)
def test_one_unit_is_not_conserved(busy: Credited, change: str) -> None:
    busy.spoil(f"UPDATE {change}")
    with busy.database.reading() as connection:
        (terms,) = not_conserved(connection, "", 10).broken
    assert abs(terms.difference) == 1


def test_a_number_that_is_skipped_is_named(busy: Credited) -> None:
    busy.spoil_last("ledger_transaction", "number", "+ 1")
    assert {each.table for each in differences(busy)} >= {"ledger_transaction", "credit_balance"}


def test_a_row_that_is_gone_is_named(busy: Credited) -> None:
    busy.spoil("DELETE FROM ledger_entry WHERE number = 2")
    assert {each.table for each in differences(busy)} >= {"ledger_transaction", "credit_grant"}
    busy.spoil("DELETE FROM ledger_transaction WHERE number = 2")
    expected = Difference("ledger_transaction", "acme/credits/transactions", "11", "10")
    assert expected in differences(busy)


def test_an_entry_of_no_transaction_or_account_is_named(busy: Credited) -> None:
    busy.spoil(
        "INSERT INTO ledger_entry VALUES ('acme', 'credits', 99, 'spent', 0)",
        "INSERT INTO ledger_entry VALUES ('acme', 'credits', 99, 'grant:77', 0)",
    )
    rows = [each.row for each in differences(busy)]
    assert "acme/credits/transaction 99 of entry spent" in rows
    assert "acme/credits/transaction 99 account" in rows


def test_what_is_taken_back_twice_is_named(busy: Credited) -> None:
    """Two entries and every balance are right; only what they take back is not."""
    busy.spoil(
        "UPDATE ledger_transaction SET reverses = 2 WHERE key = 'k3'",
    )
    assert {each.table for each in differences(busy)} <= {"ledger_entry"}
    busy.spoil("UPDATE ledger_transaction SET kind = 'reversal', reverses = 3 WHERE number = 5")
    found = differences(busy)
    assert ("ledger_entry", "acme/credits/transaction 3 taken back from spent") in {
        each[:2] for each in found
    }


def test_only_so_many_differences_are_named(
    busy: Credited, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert DIFFERENCES_MAX == 1_000
    monkeypatch.setattr("control_plane.crediting.verifying.DIFFERENCES_MAX", 3)
    busy.spoil("UPDATE ledger_entry SET amount = amount + 1 WHERE account = 'spent'")
    assert len(differences(busy)) == 3


def test_terms_are_told_apart(busy: Credited) -> None:
    with busy.database.reading() as connection:
        (terms,) = conservation_terms(connection, "acme")
        assert conservation_terms(connection, "beta") == []
    assert terms == Terms(
        "acme", "credits", granted=150, overage=115, available=39, outstanding=4,
        suspended=0, settled=208, presumed=9, expired=2, withdrawn=3,
    )  # fmt: skip


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entry SET amount = 0",
        "UPDATE ledger_transaction SET note = 'changed'",
        "UPDATE credit_grant SET expires_at_ms = NULL",
        "UPDATE credit_grant SET amount = 5",
        "DELETE FROM ledger_entry",
        "DELETE FROM ledger_transaction",
        "DELETE FROM credit_grant",
    ],
)
def test_the_database_refuses_to_change_what_was_posted(credited: Credited, statement: str) -> None:
    credited.grant(10)
    with (
        pytest.raises(DBAPIError, match="is append-only"),
        credited.database.writing() as connection,
    ):
        connection.execute(text(statement))
