"""Credits and partner apps of a catalog, as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Final

from rich.console import RenderableType

from weighbridge.cli.json_shapes import enum_label
from weighbridge.cli.output import listing, titled
from weighbridge.cli.window_text import window_text
from weighbridge.v1 import sync_service_pb2, types_pb2

_GRANT_COLUMNS: Final = ("grant", "credits", "kind", "every", "priority", "expires")
_TOP_UP_COLUMNS: Final = ("top-up", "below", "up to", "a month at most", "price")
_COST_COLUMNS: Final = ("feature", "where", "credits per million")
_QUOTA_COLUMNS: Final = ("feature", "inside a customer", "in all")
_SHARE_COLUMNS: Final = ("of", "currency", "volume up to", "platform keeps", "per transaction")
_PLACES: Final = 6

Units = Mapping[str, types_pb2.CreditUnit]


def credit_units(units: Iterable[types_pb2.CreditUnit]) -> dict[str, types_pb2.CreditUnit]:
    """Return credit types as people are shown them, by id."""
    return {unit.credit_type: unit for unit in units}


def credits_text(micro: int, unit: types_pb2.CreditUnit | None = None) -> str:
    """Return micro-credits as credits: with the type's decimals, and more where they need more."""
    amount = Decimal(micro).scaleb(-_PLACES)
    places = 0 if unit is None else unit.decimals
    needed = -int(amount.normalize().as_tuple().exponent) if micro else 0
    return f"{amount:,.{max(places, needed, 0)}f}"


def draw_text(draw: types_pb2.CreditDraw) -> str:
    """Return what pays for a feature: `paid with ai credits`."""
    past = ", and past them" if draw.kind == types_pb2.LIMIT_KIND_SOFT else ""
    return f"paid with credits of {draw.credit_type}{past}"


def grants_table(
    title: str, grants: Iterable[types_pb2.CreditGrant], units: Units
) -> Iterator[RenderableType]:
    """Return a table of credit grants; nothing where there are none."""
    rows = [_grant_row(grant, units.get(grant.credit_type)) for grant in grants]
    if rows:
        yield titled(title, listing(_GRANT_COLUMNS, rows))


def _grant_row(grant: types_pb2.CreditGrant, unit: types_pb2.CreditUnit | None) -> tuple[str, ...]:
    kind = (enum_label(types_pb2.CreditGrantKind.DESCRIPTOR, grant.kind) or "").lower()
    per_seat = " per seat" if grant.per_seat else ""
    amount = f"{credits_text(grant.amount_micro, unit)}{per_seat} of {grant.credit_type}"
    every = window_text(grant.every) if grant.HasField("every") else "once"
    if grant.starts_after_days:
        every += f", after {grant.starts_after_days} days"
    expires = end_text(grant)
    if grant.HasField("rollover_micro_max"):
        expires += f"; {credits_text(grant.rollover_micro_max, unit)} stay when a period ends"
    return grant.id, amount, kind, every, str(grant.priority), expires


def end_text(granted: types_pb2.CreditGrant | sync_service_pb2.TopUp) -> str:
    """Return when credits expire."""
    if granted.expires_after_days:
        return f"after {granted.expires_after_days} days"
    label = enum_label(types_pb2.CreditGrantEnd.DESCRIPTOR, granted.end) or ""
    return label.lower().replace("_", " ")


def top_ups_table(
    title: str, top_ups: Iterable[sync_service_pb2.TopUp], units: Units
) -> Iterator[RenderableType]:
    """Return a table of top-ups; nothing where there are none."""
    rows = []
    for top_up in top_ups:
        unit = units.get(top_up.credit_type)
        capped = top_up.HasField("monthly_cap_micro")
        rows.append(
            (
                top_up.credit_type,
                credits_text(top_up.threshold_micro, unit),
                credits_text(top_up.target_micro, unit),
                credits_text(top_up.monthly_cap_micro, unit) if capped else "any",
                ", ".join(map(_money_text, top_up.prices)),
            )
        )
    if rows:
        yield titled(title, listing(_TOP_UP_COLUMNS, rows))


def _money_text(rate: sync_service_pb2.MoneyRate) -> str:
    per = f" for {rate.per:,}" if rate.per > 1 else ""
    return f"{rate.amount} {rate.currency}{per}"


def credit_type_view(credit_type: sync_service_pb2.CreditType) -> RenderableType:
    """Return a credit type: what one is, and what usage costs."""
    unit = credit_type.unit
    worth = ", ".join(map(_money_text, credit_type.worth))
    details = f"{unit.name}, by the {unit.unit}" + (f", worth {worth}" if worth else "")
    rows = [
        (
            cost.feature,
            ", ".join(f"{name}={value}" for name, value in sorted(cost.match.items())),
            credits_text(cost.micro_per_million),
        )
        for cost in credit_type.costs
    ]
    return titled(f"Credits {unit.credit_type} ({details})", listing(_COST_COLUMNS, rows))


def partner_app_view(app: sync_service_pb2.PartnerApp) -> Iterator[RenderableType]:
    """Return a partner app: what it may use, and how money is shared."""
    quotas = {quota.feature: quota for quota in app.quotas}
    rows = []
    for feature in app.permissions:
        quota = quotas.get(feature, sync_service_pb2.PartnerQuota())
        rows.append((feature, _limits_text(quota.per_customer), _limits_text(quota.total)))
    yield titled(f"Partner app {app.id} ({app.name})", listing(_QUOTA_COLUMNS, rows))
    shares = [row for share in app.shares for row in _share_rows(share)]
    if shares:
        yield titled(f"Revenue share of {app.id}", listing(_SHARE_COLUMNS, shares))


def _limits_text(limits: Iterable[types_pb2.Limit]) -> str:
    texts = []
    for limit in limits:
        kind = (enum_label(types_pb2.LimitKind.DESCRIPTOR, limit.kind) or "").lower()
        texts.append(f"{limit.id} {limit.limit:,} ({kind}, {window_text(limit.window)})")
    return "; ".join(texts)


def _share_rows(share: sync_service_pb2.RevenueShare) -> Iterator[tuple[str, ...]]:
    def amount(minor: int) -> str:
        return f"{Decimal(minor).scaleb(-share.exponent):,}"

    base = (enum_label(sync_service_pb2.ShareBase.DESCRIPTOR, share.base) or "").lower()
    fixed = amount(share.fixed_minor) if share.fixed_minor else ""
    for tier in share.tiers:
        has_bound = tier.HasField("up_to_minor")
        every = f" ({window_text(share.window)})" if len(share.tiers) > 1 else ""
        bound = (amount(tier.up_to_minor) if has_bound else "any") + every
        yield base, share.currency, bound, f"{tier.platform_percent} %", fixed
