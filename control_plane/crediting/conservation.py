"""Conservation: no credit is made or lost. Each term is summed from rows of its own.

    granted + overage
        = available + outstanding + suspended + settled + presumed + expired + withdrawn

What is granted and over comes from entries; what grants have left that nobody holds, from grants;
what is outstanding, from leases that may be spent, open holds, and what is handed out otherwise;
what is suspended, from leases whose epoch's term ran out. What the ledger says is with leases has
to be what leases and holds have. Nothing here is shared with what posts.
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
    suspended: int
    settled: int
    presumed: int
    expired: int
    withdrawn: int
    # What the ledger says is with leases, less what leases and holds have: 0.
    astray: int = 0

    @property
    def difference(self) -> int:
        """What there is more than there should be; 0 where it adds up."""
        there = self.available + self.outstanding + self.suspended + self.settled + self.presumed
        return there + self.expired + self.withdrawn - self.granted - self.overage

    @property
    def is_conserved(self) -> bool:
        """Whether it adds up, and no term is below zero."""
        return not self.difference and not self.astray and min(self[2:-1]) >= 0


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
    SELECT customer_id, credit_type,
        SUM(CASE WHEN holder = 'leases' THEN 0 ELSE amount END) AS otherwise,
        SUM(CASE WHEN holder = 'leases' THEN amount ELSE 0 END) AS leased
    FROM credit_tranche
    WHERE customer_id BETWEEN :first AND :last GROUP BY customer_id, credit_type
), leases AS (
    SELECT pool.customer_id, pool.feature_id AS credit_type,
        SUM(CASE WHEN holder.state = 'suspended' THEN 0
            ELSE lease.granted - lease.returned - lease.drawn - lease.presumed END) AS live,
        SUM(CASE WHEN holder.state = 'suspended'
            THEN lease.granted - lease.returned - lease.drawn - lease.presumed
            ELSE 0 END) AS suspended
    FROM lease_pool pool JOIN lease ON lease.pool_id = pool.id
    LEFT JOIN lease_holder holder
        ON holder.sidecar_id = lease.sidecar_id AND holder.epoch = lease.epoch
    WHERE pool.window_key = 'credits' AND pool.customer_id BETWEEN :first AND :last
    GROUP BY pool.customer_id, pool.feature_id
), holds AS (
    SELECT pool.customer_id, pool.feature_id AS credit_type,
        SUM(CASE WHEN hold.is_presumed THEN 0 ELSE hold.units END) AS held
    FROM lease_pool pool JOIN lease_hold hold ON hold.pool_id = pool.id
    WHERE pool.window_key = 'credits' AND pool.customer_id BETWEEN :first AND :last
    GROUP BY pool.customer_id, pool.feature_id
), ledgers AS (
    SELECT customer_id, credit_type FROM entries
    UNION SELECT customer_id, credit_type FROM grants
    UNION SELECT customer_id, credit_type FROM held
    UNION SELECT customer_id, credit_type FROM leases
)
SELECT l.customer_id, l.credit_type, COALESCE(e.granted, 0), COALESCE(e.overage, 0),
    COALESCE(g.available, 0), COALESCE(h.otherwise, 0) + COALESCE(s.live, 0) + COALESCE(o.held, 0),
    COALESCE(s.suspended, 0), COALESCE(e.settled, 0),
    COALESCE(e.presumed, 0), COALESCE(e.expired, 0), COALESCE(e.withdrawn, 0),
    COALESCE(h.leased, 0)
        - COALESCE(s.live, 0) - COALESCE(s.suspended, 0) - COALESCE(o.held, 0)
FROM ledgers l
LEFT JOIN entries e ON e.customer_id = l.customer_id AND e.credit_type = l.credit_type
LEFT JOIN grants g ON g.customer_id = l.customer_id AND g.credit_type = l.credit_type
LEFT JOIN held h ON h.customer_id = l.customer_id AND h.credit_type = l.credit_type
LEFT JOIN leases s ON s.customer_id = l.customer_id AND s.credit_type = l.credit_type
LEFT JOIN holds o ON o.customer_id = l.customer_id AND o.credit_type = l.credit_type
ORDER BY l.customer_id, l.credit_type
"""
