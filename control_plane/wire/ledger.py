"""Grants, charges, balances and the ledger ⇄ protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.crediting import (
    Adjustment,
    Charge,
    LedgerId,
    NewGrant,
    Price,
    Reversal,
    Transaction,
    UsageReference,
)
from control_plane.crediting.book import OWN_KEY_MARK
from control_plane.crediting.queries import EntryQuery, StoredGrant, TransactionPage
from control_plane.crediting.verifying import Verification
from control_plane.wire.credits import GRANT_KINDS
from control_plane.wire.enums import enum_from_proto
from weighbridge.rules.credits import PRIORITY_DEFAULT
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.ledger import Balance, EntryKind
from weighbridge.v1 import credit_service_pb2 as pb

ENTRY_KINDS: Final[Mapping[EntryKind, pb.EntryKind.ValueType]] = {
    EntryKind.GRANT: pb.ENTRY_KIND_GRANT,
    EntryKind.TOP_UP: pb.ENTRY_KIND_TOP_UP,
    EntryKind.SETTLE: pb.ENTRY_KIND_SETTLE,
    EntryKind.REFUND: pb.ENTRY_KIND_REFUND,
    EntryKind.REVERSAL: pb.ENTRY_KIND_REVERSAL,
    EntryKind.ADJUSTMENT: pb.ENTRY_KIND_ADJUSTMENT,
    EntryKind.EXPIRE: pb.ENTRY_KIND_EXPIRE,
    EntryKind.ROLLOVER: pb.ENTRY_KIND_ROLLOVER,
    EntryKind.PRESUME: pb.ENTRY_KIND_PRESUME,
    EntryKind.PRESUME_REVERSAL: pb.ENTRY_KIND_PRESUME_REVERSAL,
}


def grant_from_proto(request: pb.GrantCreditsRequest) -> tuple[LedgerId, NewGrant]:
    """Return the grant wanted. Raises InvalidArgumentError."""
    price = None
    if request.HasField("price_paid"):
        price = Price(request.price_paid.currency, request.price_paid.amount_minor)
    new = NewGrant(
        key=_callers_key(request.key),
        kind=enum_from_proto("kind", GRANT_KINDS, request.kind),
        amount=request.amount_micro,
        effective_at_ms=(
            request.effective_at_unix_ms if request.HasField("effective_at_unix_ms") else None
        ),
        expires_at_ms=(
            request.expires_at_unix_ms if request.HasField("expires_at_unix_ms") else None
        ),
        priority=request.priority if request.HasField("priority") else PRIORITY_DEFAULT,
        price=price,
        note=request.note,
    )
    return LedgerId(request.customer, request.credit_type), new


def adjustment_from_proto(request: pb.AdjustGrantRequest) -> tuple[LedgerId, Adjustment]:
    """Return the adjustment wanted. Raises InvalidArgumentError."""
    wanted = Adjustment(
        _callers_key(request.key), request.grant, request.change_micro, request.note
    )
    return LedgerId(request.customer, request.credit_type), wanted


def charge_from_proto(request: pb.ChargeCreditsRequest) -> tuple[LedgerId, Charge]:
    """Return the charge wanted. Raises InvalidArgumentError."""
    usage = request.usage
    wanted = Charge(
        key=_callers_key(request.key),
        amount=request.amount_micro,
        at_ms=request.at_unix_ms if request.HasField("at_unix_ms") else None,
        overage_max=request.overage_max_micro,
        usage=UsageReference(usage.event_key, usage.sidecar_id, usage.epoch, usage.record_number),
        note=request.note,
    )
    return LedgerId(request.customer, request.credit_type), wanted


def reversal_from_proto(request: pb.RefundCreditsRequest) -> Reversal:
    """Return what is to be taken back. Raises InvalidArgumentError."""
    if not request.of_key:
        raise InvalidArgumentError("of_key", "is empty; name the transaction to take back")
    return Reversal(
        key=_callers_key(request.key),
        of_key=request.of_key,
        amount=request.amount_micro if request.HasField("amount_micro") else None,
        note=request.note,
    )


def entry_query_from_proto(request: pb.ListLedgerRequest) -> EntryQuery:
    return EntryQuery(
        customer=request.customer,
        credit_type=request.credit_type,
        event_key=request.event_key,
        page_size=request.page_size,
        page_token=request.page_token,
    )


def transaction_to_proto(transaction: Transaction) -> pb.LedgerTransaction:
    usage = transaction.usage
    return pb.LedgerTransaction(
        customer=transaction.ledger.customer,
        credit_type=transaction.ledger.credit_type,
        number=transaction.number,
        key=transaction.key,
        kind=ENTRY_KINDS[transaction.kind],
        amount_micro=transaction.amount,
        occurred_at_unix_ms=transaction.occurred_at_ms,
        booked_at_unix_ms=transaction.booked_at_ms,
        reverses=transaction.reverses or 0,
        usage=pb.UsageReference(**usage._asdict()) if any(usage) else None,
        note=transaction.note,
        entries=[
            pb.LedgerEntry(account=account, amount_micro=amount)
            for account, amount in transaction.entries
        ],
    )


def transaction_page_to_proto(page: TransactionPage) -> pb.ListLedgerResponse:
    return pb.ListLedgerResponse(
        transactions=[transaction_to_proto(each) for each in page.transactions],
        next_page_token=page.next_page_token,
    )


def stored_grant_to_proto(stored: StoredGrant) -> pb.GrantedCredits:
    grant, price, rollover = stored.lot.grant, stored.price, stored.lot.grant.rollover
    return pb.GrantedCredits(
        id=grant.id,
        credit_type=stored.ledger.credit_type,
        kind=GRANT_KINDS[grant.kind],
        amount_micro=grant.amount,
        balance_micro=stored.lot.balance,
        reserved_micro=stored.lot.reserved,
        priority=grant.priority,
        effective_at_unix_ms=grant.effective_at_ms,
        expires_at_unix_ms=grant.expires_at_ms,
        price_paid=(
            None
            if price is None
            else pb.PricePaid(currency=price.currency, amount_minor=price.minor)
        ),
        rollover=(
            None
            if rollover is None
            else pb.GrantRollover(
                series=rollover.series,
                cap_micro=rollover.cap,
                period_end_unix_ms=rollover.period_end_ms,
            )
        ),
    )


def balances_to_proto(
    balances: Mapping[LedgerId, Balance], *, is_now: bool
) -> pb.GetBalancesResponse:
    return pb.GetBalancesResponse(
        balances=[
            pb.CreditBalance(
                credit_type=ledger.credit_type,
                available_micro=balance.available,
                reserved_micro=balance.reserved if is_now else None,
                settled_micro=balance.settled,
                scheduled_micro=balance.scheduled,
                lapsed_micro=balance.lapsed,
                granted_micro=balance.totals.granted,
                overage_micro=balance.totals.overage,
                presumed_micro=balance.totals.presumed,
                expired_micro=balance.totals.expired,
                withdrawn_micro=balance.totals.withdrawn,
            )
            for ledger, balance in balances.items()
        ]
    )


def verification_to_proto(verification: Verification) -> pb.VerifyLedgersResponse:
    return pb.VerifyLedgersResponse(
        ledgers=verification.ledgers,
        transactions=verification.transactions,
        entries=verification.entries,
        grants=verification.grants,
        differences=[pb.LedgerDifference(**each._asdict()) for each in verification.differences],
    )


def _callers_key(key: str) -> str:
    if key.startswith(OWN_KEY_MARK):
        problem = f"{key!r} begins with {OWN_KEY_MARK}, as only the control plane's own do"
        raise InvalidArgumentError("key", problem)
    return key
