"""Statements ⇄ protobuf."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from control_plane.billing.closing import ClosedStatement
from control_plane.billing.credits import CreditMoves
from control_plane.billing.lines import StatementLine, lines_of, usage_rows
from control_plane.billing.statement import Statement, StatementQuery
from control_plane.wire.enums import PERIODS
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rating.charge import LineKind
from weighbridge.rules.units import require_id
from weighbridge.rules.window import Period
from weighbridge.v1 import billing_service_pb2 as pb

CHARGE_KINDS: Final[Mapping[LineKind, pb.ChargeKind.ValueType]] = {
    LineKind.FLAT: pb.CHARGE_KIND_FLAT,
    LineKind.SEATS: pb.CHARGE_KIND_SEATS,
    LineKind.FEE_PERCENTAGE: pb.CHARGE_KIND_FEE_PERCENTAGE,
    LineKind.COMMITMENT: pb.CHARGE_KIND_COMMITMENT,
    LineKind.USAGE: pb.CHARGE_KIND_USAGE,
    LineKind.PERCENTAGE: pb.CHARGE_KIND_PERCENTAGE,
    LineKind.COMMITMENT_DRAWN: pb.CHARGE_KIND_COMMITMENT_DRAWN,
    LineKind.MINIMUM: pb.CHARGE_KIND_MINIMUM,
}

StatementRequest = pb.GetStatementRequest | pb.CloseStatementRequest


def query_from_proto(request: StatementRequest) -> StatementQuery:
    """Return whose statement is wanted. Raises InvalidArgumentError."""
    require_id("customer", request.customer)
    for field, at_ms in (
        ("from_unix_ms", request.from_unix_ms),
        ("to_unix_ms", request.to_unix_ms),
    ):
        if at_ms < 0:
            raise InvalidArgumentError(field, f"{at_ms} is before 1970")
    return StatementQuery(
        request.customer, request.from_unix_ms, request.to_unix_ms, request.currency
    )


def statement_to_proto(made: Statement, moves: Sequence[CreditMoves]) -> pb.Statement:
    """Return a statement as it is now."""
    currency = made.currency
    return pb.Statement(
        customer=made.query.customer,
        from_unix_ms=made.query.from_ms,
        to_unix_ms=made.query.to_ms,
        currency="" if currency is None else currency.code,
        exponent=0 if currency is None else currency.exponent,
        made_at_unix_ms=made.made_at_ms,
        final=made.is_final,
        total_minor=made.total_minor,
        lines=_lines(lines_of(made)),
        usage=[
            pb.StatementUsage(
                resource=period.resource,
                period_start_unix_ms=period.start_ms,
                feature=feature,
                dimensions=dict(dimensions),
                amount=amount,
                calls=calls,
                unmatched=unmatched,
            )
            for period, feature, dimensions, amount, calls, unmatched in usage_rows(made)
        ],
        credits=[
            pb.StatementCredits(
                credit_type=each.credit_type,
                granted_micro=each.granted,
                charged_micro=each.charged,
                overage_micro=each.overage,
                expired_micro=each.expired,
            )
            for each in moves
        ],
    )


def closed_to_proto(closed: ClosedStatement) -> pb.Statement:
    """Return a statement, or a correction, as it was closed."""
    currency = closed.currency
    return pb.Statement(
        customer=closed.query.customer,
        from_unix_ms=closed.query.from_ms,
        to_unix_ms=closed.query.to_ms,
        currency="" if currency is None else currency.code,
        exponent=0 if currency is None else currency.exponent,
        made_at_unix_ms=closed.closed_at_ms,
        final=True,
        number=closed.number,
        total_minor=closed.total_minor,
        lines=_lines(closed.lines),
    )


def _lines(lines: Iterable[StatementLine]) -> list[pb.StatementLine]:
    return [
        pb.StatementLine(
            resource=line.key.resource,
            every=PERIODS[Period(line.key.every)],
            period_start_unix_ms=line.key.period_start_ms,
            period_end_unix_ms=line.key.period_end_ms,
            from_unix_ms=line.key.from_ms,
            until_unix_ms=line.key.until_ms,
            plan=line.key.plan,
            plan_version=line.key.plan_version,
            add_on=line.key.add_on,
            kind=CHARGE_KINDS[LineKind(line.key.kind)],
            price=line.key.price,
            feature=line.key.feature,
            match=dict(line.key.match),
            quantity=line.quantity,
            included_quantity=line.included,
            amount=line.amount,
            amount_minor=line.minor,
            tiers=[
                pb.ChargeTier(units=t.units, unit_price=t.unit, per=t.per, flat=t.flat)
                for t in line.tiers
            ],
        )
        for line in lines
    ]
