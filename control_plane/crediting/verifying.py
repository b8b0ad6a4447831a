"""Verifies every ledger from its entries alone, by SQL that shares nothing with posting.

Each check finds rows that are not what other rows say they have to be: which row, what is expected
there and what was found.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import Connection, text

DIFFERENCES_MAX: Final = 1_000
"""How many differences are named; where there are more, the first say what is wrong."""


class Difference(NamedTuple):
    """A row that is not what it has to be."""

    table: str
    row: str
    expected: str
    found: str


class Verification(NamedTuple):
    """What was looked at, and what was found wrong."""

    ledgers: int
    transactions: int
    entries: int
    grants: int
    differences: tuple[Difference, ...]


class _Check(NamedTuple):
    """A query for what is wrong in a table: customer, credit type, row, expected, found."""

    table: str
    query: str


def verify_ledgers(connection: Connection) -> Verification:
    """Recompute every balance and invariant."""
    ledgers, transactions, entries, grants = connection.execute(text(_COUNTS)).one()
    differences: list[Difference] = []
    for check in _CHECKS:
        rest = DIFFERENCES_MAX - len(differences)
        for customer, credit_type, row, expected, found in connection.execute(
            text(check.query), {"most": rest}
        ):
            name = f"{customer}/{credit_type}/{row}"
            differences.append(Difference(check.table, name, str(expected), str(found)))
    return Verification(ledgers, transactions, entries, grants, tuple(differences))


_COUNTS: Final = """
SELECT (SELECT count(*) FROM credit_balance), (SELECT count(*) FROM ledger_transaction),
       (SELECT count(*) FROM ledger_entry), (SELECT count(*) FROM credit_grant)
"""

_TRANSACTIONS_BALANCE: Final = """
SELECT customer_id, credit_type, 'transaction ' || CAST(number AS TEXT) || ' sum of entries',
       0, SUM(amount)
FROM ledger_entry GROUP BY customer_id, credit_type, number HAVING SUM(amount) <> 0 LIMIT :most
"""

_TRANSACTION_AMOUNTS: Final = """
SELECT customer_id, credit_type, 'transaction ' || CAST(number AS TEXT) || ' amount',
       COALESCE(SUM(e.amount), 0), t.amount
FROM ledger_transaction t
LEFT JOIN (SELECT * FROM ledger_entry WHERE amount > 0) e USING (customer_id, credit_type, number)
GROUP BY customer_id, credit_type, number, t.amount
HAVING COALESCE(SUM(e.amount), 0) <> t.amount LIMIT :most
"""

_ENTRIES_HAVE_TRANSACTIONS: Final = """
SELECT customer_id, credit_type, 'transaction ' || CAST(number AS TEXT) || ' of entry ' || account,
       'one', 'none'
FROM ledger_entry e LEFT JOIN ledger_transaction t USING (customer_id, credit_type, number)
WHERE t.key IS NULL LIMIT :most
"""

_NO_TRANSACTION_IS_MISSING: Final = """
SELECT customer_id, credit_type, 'transactions', MAX(number), COUNT(*) FROM ledger_transaction
GROUP BY customer_id, credit_type HAVING COUNT(*) <> MAX(number) LIMIT :most
"""

_LAST_NUMBERS: Final = """
SELECT customer_id, credit_type, 'number', COALESCE(MAX(t.number), 0), b.number
FROM credit_balance b LEFT JOIN ledger_transaction t USING (customer_id, credit_type)
GROUP BY customer_id, credit_type, b.number
HAVING COALESCE(MAX(t.number), 0) <> b.number LIMIT :most
"""

_TOTALS: Final = """
SELECT customer_id, credit_type, b.field, COALESCE(SUM(b.sign * e.amount), 0), b.total
FROM (
    SELECT customer_id, credit_type, 'granted' AS field, 'issued' AS account, -1 AS sign,
           granted AS total FROM credit_balance
    UNION ALL SELECT customer_id, credit_type, 'overage', 'overage', -1, overage
        FROM credit_balance
    UNION ALL SELECT customer_id, credit_type, 'settled', 'spent', 1, settled
        FROM credit_balance
    UNION ALL SELECT customer_id, credit_type, 'presumed', 'presumed', 1, presumed
        FROM credit_balance
    UNION ALL SELECT customer_id, credit_type, 'expired', 'expired', 1, expired
        FROM credit_balance
    UNION ALL SELECT customer_id, credit_type, 'withdrawn', 'withdrawn', 1, withdrawn
        FROM credit_balance
) b LEFT JOIN ledger_entry e USING (customer_id, credit_type, account)
GROUP BY customer_id, credit_type, b.field, b.total
HAVING COALESCE(SUM(b.sign * e.amount), 0) <> b.total OR b.total < 0 LIMIT :most
"""

_GRANT_BALANCES: Final = """
SELECT customer_id, credit_type, 'grant ' || CAST(g.id AS TEXT) || ' balance',
       COALESCE(SUM(e.amount), 0), g.balance
FROM (
    SELECT customer_id, credit_type, id, balance, 'grant:' || CAST(id AS TEXT) AS account
    FROM credit_grant
) g LEFT JOIN ledger_entry e USING (customer_id, credit_type, account)
GROUP BY customer_id, credit_type, g.id, g.balance
HAVING COALESCE(SUM(e.amount), 0) <> g.balance OR g.balance < 0 LIMIT :most
"""

_GRANT_AMOUNTS: Final = """
SELECT customer_id, credit_type, 'grant ' || CAST(number AS TEXT) || ' amount',
       COALESCE(e.amount, 0), g.amount
FROM (
    SELECT customer_id, credit_type, id AS number, amount,
           'grant:' || CAST(id AS TEXT) AS account
    FROM credit_grant
) g LEFT JOIN ledger_entry e USING (customer_id, credit_type, number, account)
WHERE COALESCE(e.amount, 0) <> g.amount LIMIT :most
"""

_GRANTS_RESERVED: Final = """
SELECT customer_id, credit_type, 'grant ' || CAST(grant_id AS TEXT) || ' reserved',
       COALESCE(SUM(h.amount), 0), g.reserved
FROM (
    SELECT customer_id, credit_type, id AS grant_id, reserved FROM credit_grant
) g LEFT JOIN credit_tranche h USING (customer_id, credit_type, grant_id)
GROUP BY customer_id, credit_type, grant_id, g.reserved
HAVING COALESCE(SUM(h.amount), 0) <> g.reserved LIMIT :most
"""

_GRANTS_COVER: Final = """
SELECT customer_id, credit_type, 'grant ' || CAST(id AS TEXT) || ' reserved',
       '0 to ' || CAST(balance AS TEXT), reserved
FROM credit_grant WHERE reserved < 0 OR reserved > balance LIMIT :most
"""

# What is leased is said twice: by the ledger, and by leases and holds.
_LEASED: Final = """
SELECT customer_id, credit_type, 'grant ' || grant_id || ' leased', SUM(leased), SUM(handed_out)
FROM (
    SELECT customer_id, credit_type, CAST(grant_id AS TEXT) AS grant_id, 0 AS leased,
           amount AS handed_out
    FROM credit_tranche WHERE holder = 'leases'
    UNION ALL
    SELECT pool.customer_id, pool.feature_id, pool.limit_id,
           lease.granted - lease.returned - lease.drawn - lease.presumed, 0
    FROM lease_pool pool JOIN lease ON lease.pool_id = pool.id WHERE pool.window_key = 'credits'
    UNION ALL
    SELECT pool.customer_id, pool.feature_id, pool.limit_id,
           CASE WHEN hold.is_presumed THEN 0 ELSE hold.units END, 0
    FROM lease_pool pool JOIN lease_hold hold ON hold.pool_id = pool.id
    WHERE pool.window_key = 'credits'
) said
GROUP BY customer_id, credit_type, grant_id HAVING SUM(leased) <> SUM(handed_out) LIMIT :most
"""

_TRANCHES: Final = """
SELECT customer_id, credit_type, 'tranche of grant ' || CAST(grant_id AS TEXT) || ' at ' || holder,
       'more than 0', amount
FROM credit_tranche WHERE amount <= 0 LIMIT :most
"""

_ACCOUNTS: Final = """
SELECT e.customer_id, e.credit_type,
       'transaction ' || CAST(e.number AS TEXT) || ' account', 'one there is', e.account
FROM ledger_entry e LEFT JOIN credit_grant g
    ON g.customer_id = e.customer_id AND g.credit_type = e.credit_type
    AND e.account = 'grant:' || CAST(g.id AS TEXT)
WHERE g.id IS NULL
    AND e.account NOT IN ('issued', 'overage', 'spent', 'presumed', 'expired', 'withdrawn')
LIMIT :most
"""

# What takes a transaction back gives no account more than it took; taken back whole, exactly that.
_TAKEN_BACK: Final = """
WITH taking AS MATERIALIZED (SELECT * FROM ledger_transaction WHERE reverses IS NOT NULL)
SELECT o.customer_id, o.credit_type,
       'transaction ' || CAST(o.number AS TEXT) || ' taken back from ' || o.account,
       -o.amount, COALESCE(SUM(e.amount), 0)
FROM taking t JOIN ledger_entry o
    ON t.customer_id = o.customer_id AND t.credit_type = o.credit_type AND t.reverses = o.number
LEFT JOIN ledger_entry e
    ON e.customer_id = t.customer_id AND e.credit_type = t.credit_type AND e.number = t.number
    AND e.account = o.account
GROUP BY o.customer_id, o.credit_type, o.number, o.account, o.amount
HAVING ABS(COALESCE(SUM(e.amount), 0)) > ABS(o.amount)
    OR (
        MAX(CASE WHEN t.kind IN ('reversal', 'presume_reversal') THEN 1 ELSE 0 END) = 1
        AND COALESCE(SUM(e.amount), 0) <> -o.amount
    )
LIMIT :most
"""

# In the order in which one mistake is best understood.
_CHECKS: Final = (
    _Check("ledger_entry", _TRANSACTIONS_BALANCE),
    _Check("ledger_transaction", _TRANSACTION_AMOUNTS),
    _Check("ledger_entry", _ENTRIES_HAVE_TRANSACTIONS),
    _Check("ledger_transaction", _NO_TRANSACTION_IS_MISSING),
    _Check("credit_balance", _LAST_NUMBERS),
    _Check("credit_balance", _TOTALS),
    _Check("credit_grant", _GRANT_BALANCES),
    _Check("credit_grant", _GRANT_AMOUNTS),
    _Check("credit_grant", _GRANTS_RESERVED),
    _Check("credit_grant", _GRANTS_COVER),
    _Check("credit_tranche", _TRANCHES),
    _Check("credit_tranche", _LEASED),
    _Check("ledger_entry", _ACCOUNTS),
    _Check("ledger_entry", _TAKEN_BACK),
)
