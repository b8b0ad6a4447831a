"""Conservation: no credit is made or lost. Each term is summed from rows of its own.

    granted + overage = available + outstanding + settled + presumed + expired + withdrawn

What is granted and over comes from entries; what grants have left that nobody holds, from grants;
what is outstanding, from what is handed out. Nothing here is shared with what posts.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import Connection, text


class Terms(NamedTuple):
    """The terms of one ledger, in micro-credits."""

    customer: str
    credit_type: str
    granted: int
    overage: int
    available: int
    outstanding: int
    settled: int
    presumed: int
    expired: int
    withdrawn: int

    @property
    def difference(self) -> int:
        """What there is more than there should be; 0 where it adds up."""
        there = self.available + self.outstanding + self.settled + self.presumed
        return there + self.expired + self.withdrawn - self.granted - self.overage

    @property
    def is_conserved(self) -> bool:
        """Whether it adds up, and no term is below zero."""
        return self.difference == 0 and min(self[2:]) >= 0


class Checked(NamedTuple):
    """What a look at some ledgers found. `last` is the last customer looked at, "" after all."""

    ledgers: int
    broken: tuple[Terms, ...]
    last: str


def conservation_terms(connection: Connection, customer: str) -> list[Terms]:
    """Return the terms of each ledger of a customer."""
    return _terms_between(connection, customer, customer)


def not_conserved(connection: Connection, after: str, most: int) -> Checked:
    """Return which ledgers do not add up, of at most so many customers after one ("": all)."""
    page = connection.execute(text(_CUSTOMERS), {"after": after, "most": most}).scalars().all()
    if not page:
        return Checked(0, (), "")
    found = _terms_between(connection, page[0], page[-1])
    broken = tuple(terms for terms in found if not terms.is_conserved)
    return Checked(len(found), broken, page[-1] if len(page) == most else "")


def _terms_between(connection: Connection, first: str, last: str) -> list[Terms]:
    rows = connection.execute(text(_TERMS), {"first": first, "last": last})
    return [_terms(*row) for row in rows]


def _terms(customer: str, credit_type: str, *amounts: int) -> Terms:
    return Terms(customer, credit_type, *(int(amount) for amount in amounts))


_CUSTOMERS: Final = """
SELECT DISTINCT customer_id FROM credit_balance WHERE customer_id > :after
ORDER BY customer_id LIMIT :most
"""

_TERMS: Final = """
WITH entries AS (
    SELECT customer_id, credit_type,
        -SUM(CASE WHEN account = 'issued' THEN amount ELSE 0 END) AS granted,
        -SUM(CASE WHEN account = 'overage' THEN amount ELSE 0 END) AS overage,
        SUM(CASE WHEN account = 'spent' THEN amount ELSE 0 END) AS settled,
        SUM(CASE WHEN account = 'presumed' THEN amount ELSE 0 END) AS presumed,
        SUM(CASE WHEN account = 'expired' THEN amount ELSE 0 END) AS expired,
        SUM(CASE WHEN account = 'withdrawn' THEN amount ELSE 0 END) AS withdrawn
    FROM ledger_entry WHERE customer_id BETWEEN :first AND :last
    GROUP BY customer_id, credit_type
), grants AS (
    SELECT customer_id, credit_type, SUM(balance - reserved) AS available FROM credit_grant
    WHERE customer_id BETWEEN :first AND :last GROUP BY customer_id, credit_type
), held AS (
    SELECT customer_id, credit_type, SUM(amount) AS outstanding FROM credit_tranche
    WHERE customer_id BETWEEN :first AND :last GROUP BY customer_id, credit_type
), ledgers AS (
    SELECT customer_id, credit_type FROM entries
    UNION SELECT customer_id, credit_type FROM grants
    UNION SELECT customer_id, credit_type FROM held
)
SELECT l.customer_id, l.credit_type, COALESCE(e.granted, 0), COALESCE(e.overage, 0),
    COALESCE(g.available, 0), COALESCE(h.outstanding, 0), COALESCE(e.settled, 0),
    COALESCE(e.presumed, 0), COALESCE(e.expired, 0), COALESCE(e.withdrawn, 0)
FROM ledgers l
LEFT JOIN entries e ON e.customer_id = l.customer_id AND e.credit_type = l.credit_type
LEFT JOIN grants g ON g.customer_id = l.customer_id AND g.credit_type = l.credit_type
LEFT JOIN held h ON h.customer_id = l.customer_id AND h.credit_type = l.credit_type
ORDER BY l.customer_id, l.credit_type
"""
