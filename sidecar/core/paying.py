"""What a call costs in credits, and who pays: today's cost, for whoever has the subscription."""

from __future__ import annotations

from sidecar.core.decided import Judged, Subject
from sidecar.core.leases import Leases
from sidecar.core.moment import Moment
from sidecar.core.purses import credits_held
from sidecar.core.request import Kind
from weighbridge.rules.catalog import CreditDraw, Enforcement, LimitKind
from weighbridge.rules.credits import CreditCost, CreditType, Tariff
from weighbridge.rules.errors import InvalidArgumentError


def tariff_of(subject: Subject, draw: CreditDraw | None) -> Tariff | None:
    """Return what a call costs; None where it costs nothing.

    A Check names no dimensions: it is asked for the dearest usage, where none fits. Raises
    InvalidArgumentError where usage has no cost: it would be given away in silence.
    """
    if subject.request.is_priced:
        return subject.request.tariff
    if draw is None:
        return None
    request, grant, feature = subject.request, subject.grant, subject.feature
    credit_type = subject.compiler.catalog.credit_types[draw.credit_type]
    cost = credit_type.cost(feature.id, request.dimensions)
    if cost is None and request.kind is Kind.CHECK:
        cost = _dearest(credit_type, feature.id)
    if cost is None:
        having = ", ".join(f"{name}={value}" for name, value in request.dimensions)
        raise InvalidArgumentError(
            "dimensions",
            f"{feature.id!r} with {having or 'none'} has no cost in {draw.credit_type!r}; "
            "name those that the catalog has a cost for",
        )
    is_hard = draw.kind is LimitKind.HARD and feature.enforcement is Enforcement.ENFORCE
    payer = grant.inherited_from or request.customer
    return Tariff(payer, draw.credit_type, cost.micro, is_hard)


def with_credits(judged: Judged, tariff: Tariff, leases: Leases, moment: Moment) -> Judged:
    """Say in a verdict what pays, and how much of it is here."""
    return judged._replace(tariff=tariff, credits_held=credits_held(leases, tariff, moment))


def _dearest(credit_type: CreditType, feature: str) -> CreditCost | None:
    costs = credit_type.costs.get(feature, ())
    return max(costs, key=lambda cost: cost.micro, default=None)
