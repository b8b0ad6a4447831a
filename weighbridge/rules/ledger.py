"""The credit ledger's rules: which grant burns first, and which entries each transaction has.

Amounts are micro-credits: integers, 1,000,000 to the credit. A ledger is that of one customer and
one credit type. Its accounts: `issued` and `overage`, where credits come from, are zero or less;
`grant:ID`, and where credits end, `spent`, `expired`, `withdrawn` and `presumed`, are zero or more.
The entries of a transaction sum to zero, so the accounts do at any time:

    granted + overage = grants + settled + presumed + expired + withdrawn
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from weighbridge.rules.credits import PRIORITY_DEFAULT, GrantKind
from weighbridge.rules.errors import InvalidArgumentError

LEDGER_MICROS_MAX: Final = 2**61
"""The most that one ledger may have been granted, and may have of overage; sums of both fit."""

ISSUED: Final = "issued"
OVERAGE: Final = "overage"
SPENT: Final = "spent"
PRESUMED: Final = "presumed"
EXPIRED: Final = "expired"
WITHDRAWN: Final = "withdrawn"

_GRANT: Final = "grant:"
_NEVER: Final = 2**63


UNPAID: Final = frozenset({GrantKind.PROMOTIONAL, GrantKind.TRIAL})
"""What burns before the others, where priority and expiry are alike: nobody paid for it."""


BurnRank = tuple[int, int, bool, int, int]
"""Where a grant comes in the order in which grants burn: see `Grant.burn_rank`."""


class EntryKind(Enum):
    """What a transaction, and so each of its entries, is."""

    GRANT = "grant"
    TOP_UP = "top_up"
    SETTLE = "settle"
    REFUND = "refund"
    REVERSAL = "reversal"
    ADJUSTMENT = "adjustment"
    EXPIRE = "expire"
    ROLLOVER = "rollover"
    PRESUME = "presume"
    PRESUME_REVERSAL = "presume_reversal"


REVERSALS: Final = frozenset({EntryKind.REVERSAL, EntryKind.PRESUME_REVERSAL})
TAKING_BACK: Final = REVERSALS | {EntryKind.REFUND}


class Entry(NamedTuple):
    """What a transaction adds to one account."""

    account: str
    amount: int


class Part(NamedTuple):
    """Micro-credits of one grant."""

    grant: int
    amount: int


class Rollover(NamedTuple):
    """What stays of grants that come again: of all in `series` whose period is over, `cap`."""

    series: str
    cap: int
    period_end_ms: int


@dataclass(frozen=True, slots=True)
class Grant:
    """Credits that were granted: spendable from `effective_at_ms` until before `expires_at_ms`."""

    id: int
    kind: GrantKind
    amount: int
    effective_at_ms: int
    expires_at_ms: int | None = None
    priority: int = PRIORITY_DEFAULT
    rollover: Rollover | None = None

    def is_spendable(self, at_ms: int) -> bool:
        """Whether usage at that instant may be paid from it."""
        return self.effective_at_ms <= at_ms and not self.is_over(at_ms)

    def is_over(self, at_ms: int) -> bool:
        """Whether it has expired by then."""
        return self.expires_at_ms is not None and self.expires_at_ms <= at_ms

    @property
    def burn_rank(self) -> BurnRank:
        """The order in which grants burn: the lowest first.

        By priority, then expiry (none comes last), unpaid before paid, effective date, id.
        """
        effective_at_ms, is_paid = self.effective_at_ms, self.is_paid
        return burn_rank(self.priority, self.expires_at_ms, effective_at_ms, self.id, is_paid)

    @property
    def is_paid(self) -> bool:
        """Whether it counts as paid for, where grants are alike otherwise."""
        return self.kind not in UNPAID


def burn_rank(
    priority: int,
    expires_at_ms: int | None,
    effective_at_ms: int,
    grant: int,
    is_paid: bool,  # noqa: FBT001 (one of five terms, in no call alone)
) -> BurnRank:
    """Return where a grant comes in the order in which grants burn."""
    ends_ms = _NEVER if expires_at_ms is None else expires_at_ms
    return (priority, ends_ms, is_paid, effective_at_ms, grant)


@dataclass(frozen=True, slots=True)
class Lot:
    """A grant with what is left of it, of which `reserved` is handed out already."""

    grant: Grant
    balance: int
    reserved: int = 0

    @property
    def free(self) -> int:
        """What is left and not handed out."""
        return self.balance - self.reserved


class Burn(NamedTuple):
    """Which grants pay, in burn order, and what none of them could."""

    parts: tuple[Part, ...]
    shortfall: int


def burn(
    lots: Iterable[Lot], amount: int, at_ms: int, own: Mapping[int, int] | None = None
) -> Burn:
    """Take an amount from the grants that are spendable at that instant, in burn order.

    `own` says of which grants how much is reserved for just this.
    """
    parts = []
    missing = amount
    for lot in in_burn_order(lots):
        if not missing:
            break
        if not lot.grant.is_spendable(at_ms):
            continue
        taken = min(missing, lot.free + (own.get(lot.grant.id, 0) if own else 0))
        if taken > 0:
            parts.append(Part(lot.grant.id, taken))
            missing -= taken
    return Burn(tuple(parts), missing)


def in_burn_order(lots: Iterable[Lot]) -> list[Lot]:
    """Return the lots, the one that burns first at the front."""
    return sorted(lots, key=lambda lot: lot.grant.burn_rank)


class Lapse(NamedTuple):
    """What of a grant is to be booked as expired, and since when: by its own date, or the cap."""

    kind: EntryKind
    since_ms: int
    part: Part


def lapses(lots: Iterable[Lot], at_ms: int) -> tuple[Lapse, ...]:
    """Return what has expired by that instant, or is past what may roll over, in burn order.

    A grant of which something is handed out does not expire yet, and a cap takes only from what is
    not handed out: there the rest lapses when that is settled.
    """
    expired = []
    kept: dict[str, list[tuple[Lot, Rollover]]] = {}
    for lot in in_burn_order(lots):
        grant, rollover = lot.grant, lot.grant.rollover
        if grant.expires_at_ms is not None and grant.is_over(at_ms):
            if lot.balance and not lot.reserved:
                part = Part(grant.id, lot.balance)
                expired.append(Lapse(EntryKind.EXPIRE, grant.expires_at_ms, part))
        elif rollover is not None and rollover.period_end_ms <= at_ms:
            kept.setdefault(rollover.series, []).append((lot, rollover))
    return (*expired, *(lapse for series in kept.values() for lapse in _past_cap(series)))


def _past_cap(series: Sequence[tuple[Lot, Rollover]]) -> list[Lapse]:
    newest = max((rollover for _, rollover in series), key=lambda each: each.period_end_ms)
    excess = sum(lot.balance for lot, _ in series) - newest.cap
    found = []
    for lot, _ in series:
        taken = min(max(excess, 0), lot.free)
        if taken:
            part = Part(lot.grant.id, taken)
            found.append(Lapse(EntryKind.ROLLOVER, newest.period_end_ms, part))
            excess -= taken
    return found


def grant_account(grant: int) -> str:
    """Return the account of a grant."""
    return f"{_GRANT}{grant}"


def grant_of(account: str) -> int | None:
    """Return the grant whose account it is; None of another account."""
    return int(account.removeprefix(_GRANT)) if account.startswith(_GRANT) else None


def grant_entries(grant: int, amount: int) -> tuple[Entry, ...]:
    """Return how credits come into being."""
    return _moved(ISSUED, grant_account(grant), amount)


def settle_entries(burned: Burn) -> tuple[Entry, ...]:
    """Return how credits are spent; the shortfall posts too, counted apart as overage."""
    return _paid(burned, SPENT)


def presume_entries(parts: Sequence[Part]) -> tuple[Entry, ...]:
    """Return how credits that a lost holder may have spent count as spent until that is known."""
    return _paid(Burn(tuple(parts), 0), PRESUMED)


def expire_entries(grant: int, amount: int) -> tuple[Entry, ...]:
    """Return how what is left of a grant expires."""
    return _moved(grant_account(grant), EXPIRED, amount)


def adjustment_entries(grant: int, change: int) -> tuple[Entry, ...]:
    """Return how a person adds to a grant, or withdraws from it."""
    account = grant_account(grant)
    if change >= 0:
        return _moved(ISSUED, account, change)
    return _moved(account, WITHDRAWN, -change)


def reversal_entries(left: Mapping[str, int]) -> tuple[Entry, ...]:
    """Return what takes a transaction back.

    `left` is what it, and what was taken back of it already, add up to.
    """
    return tuple(Entry(account, -amount) for account, amount in left.items() if amount)


def refund_entries(burned: Burn, amount: int) -> tuple[Entry, ...]:
    """Return how a part of what was spent is given back: overage, then what burned last.

    So what stays is what a smaller charge would have taken. `burned` is what is still spent.
    """
    overage = min(amount, burned.shortfall)
    made = [Entry(OVERAGE, overage)]
    missing = amount - overage
    for part in reversed(burned.parts):
        given = min(missing, part.amount)
        made.append(Entry(grant_account(part.grant), given))
        missing -= given
    if missing:
        problem = f"{amount} is more than the {amount - missing} that are spent and not given back"
        raise InvalidArgumentError("amount", problem)
    return tuple(entry for entry in (*made, Entry(SPENT, -amount)) if entry.amount)


def require_balanced(entries: Sequence[Entry]) -> int:
    """Return how much moves: the sum of what is added. Entries that sum to no zero are a bug."""
    assert sum(entry.amount for entry in entries) == 0, "the entries of a transaction sum to zero"
    assert len({entry.account for entry in entries}) == len(entries), "one entry per account"
    return sum(entry.amount for entry in entries if entry.amount > 0)


class Totals(NamedTuple):
    """The accounts of a ledger that are no grants, each as a number that is zero or more."""

    granted: int = 0
    overage: int = 0
    settled: int = 0
    presumed: int = 0
    expired: int = 0
    withdrawn: int = 0

    def with_entries(self, entries: Iterable[Entry]) -> Totals:
        """Return them after a transaction."""
        values = self._asdict()
        for account, amount in entries:
            field = _FIELDS.get(account)
            if field is not None:
                values[field] += -amount if account in {ISSUED, OVERAGE} else amount
        return Totals(**values)


_FIELDS: Final = {
    ISSUED: "granted",
    OVERAGE: "overage",
    SPENT: "settled",
    PRESUMED: "presumed",
    EXPIRED: "expired",
    WITHDRAWN: "withdrawn",
}


@dataclass(frozen=True, slots=True)
class Balance:
    """What a customer has of a credit type at an instant, in micro-credits.

    `available` can be spent; `reserved` is handed out and not settled; `scheduled` is granted for
    later; `lapsed` has expired and is to be booked so. They add up to what grants have left.
    """

    available: int
    reserved: int
    scheduled: int
    lapsed: int
    totals: Totals

    @property
    def settled(self) -> int:
        """What was spent, refunds and reversals taken off."""
        return self.totals.settled


def balance_of(lots: Iterable[Lot], totals: Totals, at_ms: int) -> Balance:
    """Return the balance at an instant, of what the ledger had then."""
    lots = list(lots)
    past_cap = {
        lapse.part.grant: lapse.part.amount
        for lapse in lapses(lots, at_ms)
        if lapse.kind is EntryKind.ROLLOVER
    }
    available = reserved = scheduled = lapsed = 0
    for lot in lots:
        reserved += lot.reserved
        if lot.grant.is_over(at_ms):
            lapsed += lot.free
        elif lot.grant.is_spendable(at_ms):
            over = past_cap.get(lot.grant.id, 0)
            lapsed += over
            available += lot.free - over
        else:
            scheduled += lot.free
    return Balance(available, reserved, scheduled, lapsed, totals)


def _moved(source: str, target: str, amount: int) -> tuple[Entry, ...]:
    return (Entry(source, -amount), Entry(target, amount))


def _paid(burned: Burn, target: str) -> tuple[Entry, ...]:
    made = [Entry(grant_account(part.grant), -part.amount) for part in burned.parts]
    made.append(Entry(OVERAGE, -burned.shortfall))
    made.append(Entry(target, sum(part.amount for part in burned.parts) + burned.shortfall))
    return tuple(entry for entry in made if entry.amount)
