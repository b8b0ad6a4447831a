"""What a customer's credit ledgers say of a span of time."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from sqlalchemy import Connection, and_, func, select

from control_plane.storage.ledger_tables import ledger_entry, ledger_transaction
from weighbridge.rules.ledger import EXPIRED, ISSUED, OVERAGE, SPENT


class CreditMoves(NamedTuple):
    """Micro-credits granted, charged (refunds taken off), charged past the balance, and expired."""

    credit_type: str
    granted: int
    charged: int
    overage: int
    expired: int


def credit_moves(
    connection: Connection, customer: str, from_ms: int, to_ms: int
) -> list[CreditMoves]:
    """Sum a customer's ledgers by what they say of the span; a refund counts when it was used."""
    posted, entry = ledger_transaction.c, ledger_entry.c
    charged = ledger_transaction.alias("charged")
    at_ms = func.coalesce(charged.c.occurred_at_ms, posted.occurred_at_ms)
    is_entry_of = and_(
        posted.customer_id == entry.customer_id,
        posted.credit_type == entry.credit_type,
        posted.number == entry.number,
    )
    is_charge_of = and_(
        charged.c.customer_id == posted.customer_id,
        charged.c.credit_type == posted.credit_type,
        charged.c.number == posted.reverses,
    )
    query = (
        select(posted.credit_type, entry.account, func.sum(entry.amount).label("micro"))
        .join_from(ledger_transaction, ledger_entry, is_entry_of)
        .outerjoin(charged, is_charge_of)
        .where(posted.customer_id == customer, at_ms >= from_ms, at_ms < to_ms)
        .group_by(posted.credit_type, entry.account)
    )
    accounts: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in connection.execute(query):
        accounts[row.credit_type][row.account] = int(row.micro)
    return [
        CreditMoves(
            credit_type,
            -of.get(ISSUED, 0),
            of.get(SPENT, 0),
            -of.get(OVERAGE, 0),
            of.get(EXPIRED, 0),
        )
        for credit_type, of in sorted(accounts.items())
    ]
