"""Credits of a customer: from values to protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sidecar.wire.decision import window_to_proto
from weighbridge.rules.catalog import CreditDraw, LimitKind
from weighbridge.rules.credits import CreditGrant, CreditType, GrantEnd, GrantKind
from weighbridge.v1 import types_pb2 as pb

_KINDS: Final[Mapping[GrantKind, pb.CreditGrantKind.ValueType]] = {
    kind: pb.CreditGrantKind.Value(f"CREDIT_GRANT_KIND_{kind.name}") for kind in GrantKind
}
_ENDS: Final[Mapping[GrantEnd, pb.CreditGrantEnd.ValueType]] = {
    end: pb.CreditGrantEnd.Value(f"CREDIT_GRANT_END_{end.name}") for end in GrantEnd
}
_DRAW_KINDS: Final[Mapping[LimitKind, pb.LimitKind.ValueType]] = {
    kind: pb.LimitKind.Value(f"LIMIT_KIND_{kind.name}") for kind in LimitKind
}


def draw_to_proto(draw: CreditDraw) -> pb.CreditDraw:
    """Return what pays for a feature."""
    return pb.CreditDraw(credit_type=draw.credit_type, kind=_DRAW_KINDS[draw.kind])


def credit_unit_to_proto(credit_type: CreditType) -> pb.CreditUnit:
    """Return a credit type as people are shown it."""
    return pb.CreditUnit(
        credit_type=credit_type.id,
        name=credit_type.name,
        unit=credit_type.unit,
        decimals=credit_type.decimals,
    )


def credit_grant_to_proto(grant: CreditGrant) -> pb.CreditGrant:
    """Return a grant."""
    return pb.CreditGrant(
        id=grant.id,
        credit_type=grant.credit_type,
        amount_micro=grant.micro,
        kind=_KINDS[grant.kind],
        every=None if grant.every is None else window_to_proto(grant.every),
        per_seat=grant.per_seat,
        priority=grant.priority,
        starts_after_days=grant.starts_after_days,
        end=_ENDS[grant.expiry.end],
        expires_after_days=grant.expiry.days,
        rollover_micro_max=grant.rollover_micro,
    )
