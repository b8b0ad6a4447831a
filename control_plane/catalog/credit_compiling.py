"""Credits as written to those of the rules. They were checked: nothing is refused here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final, TypeVar

from control_plane.catalog.credit_document import (
    CreditCostDocument,
    CreditExpiry,
    CreditGrantDocument,
    CreditTypeDocument,
    ExpiryDocument,
    Money,
    TopUpDocument,
)
from control_plane.catalog.currencies import currency_of
from control_plane.catalog.document import CatalogDocument, PlanDocument
from control_plane.catalog.grant_document import CreditDrawDocument
from control_plane.catalog.window_compiling import window_of
from weighbridge.rules.catalog import CreditDraw, LimitKind
from weighbridge.rules.credits import (
    MICRO,
    CreditCost,
    CreditGrant,
    CreditType,
    GrantEnd,
    GrantExpiry,
    GrantKind,
    MoneyRate,
    TopUp,
    micro_of,
)
from weighbridge.rules.rating.money import exact

WrittenT = TypeVar("WrittenT")

Inherited = dict[str, tuple[str, Sequence[WrittenT]]]
"""Of each plan, the plan that writes the list, itself or one it extends, and the list."""

_KIND: Final = {True: GrantKind.PREPAID, False: GrantKind.RECURRING}


def resolve_credit_grants(document: CatalogDocument) -> Inherited[CreditGrantDocument]:
    """Return each plan's credit grants: its own list, else that of the plan it extends."""
    return _resolve(document, lambda plan: plan.credit_grants)


def resolve_top_ups(document: CatalogDocument) -> Inherited[TopUpDocument]:
    """Return each plan's top-ups: its own list, else that of the plan it extends."""
    return _resolve(document, lambda plan: plan.top_ups)


def _resolve(
    document: CatalogDocument, read: Callable[[PlanDocument], Sequence[WrittenT] | None]
) -> Inherited[WrittenT]:
    resolved: Inherited[WrittenT] = {}
    for id_ in document.plans:
        writer = id_
        while (found := read(document.plans[writer])) is None:
            above = document.plans[writer].extends
            if above is None:
                break
            writer = above
        resolved[id_] = (writer, found or ())
    return resolved


def compile_credit_types(document: CatalogDocument) -> dict[str, CreditType]:
    """Compile the credit types. Costs stand in the order of the features, and by match."""
    return {
        id_: CreditType(
            id=id_,
            name=written.name or id_,
            unit=written.unit,
            decimals=written.decimals,
            worth=_rates(written.worth or {}, 1),
            costs=_costs(document, written),
            notify_below_micro=tuple(sorted({_micro(each) for each in written.notify_below})),
        )
        for id_, written in document.credit_types.items()
    }


def _costs(
    document: CatalogDocument, written: CreditTypeDocument
) -> dict[str, tuple[CreditCost, ...]]:
    costs: dict[str, tuple[CreditCost, ...]] = {}
    for feature in document.features:
        found = [compile_cost(each) for each in written.costs if each.feature == feature]
        if found:
            costs[feature] = tuple(sorted(found, key=lambda cost: cost.match))
    return costs


def compile_cost(written: CreditCostDocument) -> CreditCost:
    """Compile a cost that comes to whole micro-credits."""
    micro = micro_per_million(written)
    assert micro is not None
    return CreditCost(written.feature, micro, tuple(sorted((written.match or {}).items())))


def micro_per_million(written: CreditCostDocument) -> int | None:
    """Return what a million units cost, in micro-credits; None where that is no integer."""
    with exact():
        numerator, denominator = (written.cost * MICRO * MICRO).as_integer_ratio()
    micro, rest = divmod(numerator, denominator * written.per)
    return None if rest else micro


def credit_draw(written: str | CreditDrawDocument | None) -> CreditDraw | None:
    """Return how a feature is paid with credits; None where it is not."""
    if written is None:
        return None
    if isinstance(written, str):
        return CreditDraw(written)
    return CreditDraw(written.type, LimitKind(written.kind))


def compile_credit_grants(written: Sequence[CreditGrantDocument]) -> tuple[CreditGrant, ...]:
    """Compile grants, by id: in what order they are written is no matter."""
    return tuple(_grant(each) for each in sorted(written, key=lambda grant: grant.id))


def _grant(written: CreditGrantDocument) -> CreditGrant:
    kind = grant_kind(written)
    return CreditGrant(
        id=written.id,
        credit_type=written.type,
        micro=_micro(written.amount),
        kind=kind,
        every=None if written.every is None else window_of(written.every),
        per_seat=written.per_seat,
        priority=written.priority,
        starts_after_days=written.starts_after_days,
        expiry=_grant_expiry(written, kind),
        rollover_micro=None if written.rollover_max is None else _micro(written.rollover_max),
    )


def grant_kind(written: CreditGrantDocument) -> GrantKind:
    """Return a grant's kind: its own, else recurring where it has a period, else prepaid."""
    return _KIND[written.every is None] if written.kind is None else GrantKind(written.kind)


def _grant_expiry(written: CreditGrantDocument, kind: GrantKind) -> GrantExpiry:
    if written.expires is not None:
        return _expiry(written.expires)
    if kind is GrantKind.TRIAL:
        return GrantExpiry(GrantEnd.TRIAL_END)
    if written.every is not None and written.rollover_max is None:
        return GrantExpiry(GrantEnd.PERIOD_END)
    return GrantExpiry(GrantEnd.NEVER)


def _expiry(written: CreditExpiry) -> GrantExpiry:
    if isinstance(written, ExpiryDocument):
        return GrantExpiry(GrantEnd.AFTER_DAYS, written.after_days)
    return GrantExpiry(GrantEnd(written))


def compile_top_ups(written: Sequence[TopUpDocument]) -> tuple[TopUp, ...]:
    """Compile top-ups, by credit type."""
    return tuple(_top_up(each) for each in sorted(written, key=lambda top_up: top_up.type))


def _top_up(written: TopUpDocument) -> TopUp:
    return TopUp(
        credit_type=written.type,
        threshold_micro=_micro(written.threshold),
        target_micro=_micro(written.target),
        monthly_cap_micro=None if written.monthly_cap is None else _micro(written.monthly_cap),
        prices=_rates(written.price, written.per),
        priority=written.priority,
        expiry=_expiry(written.expires),
    )


def _rates(written: Money, per: int) -> tuple[MoneyRate, ...]:
    return tuple(
        MoneyRate(currency_of(code), amount, per) for code, amount in sorted(written.items())
    )


def _micro(amount: Decimal) -> int:
    micro = micro_of(amount)
    assert micro is not None
    return micro
