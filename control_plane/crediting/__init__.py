"""The credit ledger: append-only, double-entry, in integers; each transaction idempotent by key.

A caller opens a ledger (`open_book`) within a database transaction and posts to it: `create_grant`,
`adjust_grant`, `charge`, `reverse`. Who hands credits out uses `carve`, `give_back` and `presume`,
and charges with a holder.
"""

from control_plane.crediting.book import Book, open_book
from control_plane.crediting.charging import Charge, carve, charge, give_back, held_by, presume
from control_plane.crediting.granting import (
    Adjustment,
    NewGrant,
    adjust_grant,
    create_grant,
    expire_due,
)
from control_plane.crediting.reversing import Reversal, require_transaction, reverse
from control_plane.crediting.rows import LedgerId, Price, Transaction, UsageReference

__all__ = [
    "Adjustment",
    "Book",
    "Charge",
    "LedgerId",
    "NewGrant",
    "Price",
    "Reversal",
    "Transaction",
    "UsageReference",
    "adjust_grant",
    "carve",
    "charge",
    "create_grant",
    "expire_due",
    "give_back",
    "held_by",
    "open_book",
    "presume",
    "require_transaction",
    "reverse",
]
