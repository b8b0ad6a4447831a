"""Partner apps as written to those of the rules. They were checked: nothing is refused here."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from control_plane.catalog.currencies import currency_of
from control_plane.catalog.document import CatalogDocument
from control_plane.catalog.partner_document import (
    PartnerAppDocument,
    QuotaLimitDocument,
    RevenueShareDocument,
)
from control_plane.catalog.window_compiling import limit_id, window_of
from weighbridge.rules.catalog import Limit, LimitKind, PartnerApp, PartnerQuota
from weighbridge.rules.rating.money import Currency, exact
from weighbridge.rules.revenue_share import RevenueShare, ShareBase, ShareTier


def compile_partner_apps(document: CatalogDocument) -> dict[str, PartnerApp]:
    """Compile the partner apps. Permissions stand in the order of the features."""
    return {
        id_: _partner_app(id_, written, document) for id_, written in document.partner_apps.items()
    }


def _partner_app(id_: str, written: PartnerAppDocument, document: CatalogDocument) -> PartnerApp:
    return PartnerApp(
        id=id_,
        name=written.name or id_,
        permissions=tuple(each for each in document.features if each in written.permissions),
        quotas={
            feature: PartnerQuota(_limits(quota.per_customer), _limits(quota.total))
            for feature in document.features
            if (quota := written.quotas.get(feature)) is not None
        },
        shares=tuple(
            _share(each)
            for each in sorted(written.shares, key=lambda share: (share.of, share.currency))
        ),
    )


def _limits(written: Sequence[QuotaLimitDocument]) -> tuple[Limit, ...]:
    return tuple(
        Limit(limit_id(each), LimitKind(each.kind), each.limit, window_of(each.window))
        for each in written
    )


def _share(written: RevenueShareDocument) -> RevenueShare:
    currency = currency_of(written.currency)
    if written.tiers is None:
        assert written.platform_percent is not None
        tiers: tuple[ShareTier, ...] = (ShareTier(None, written.platform_percent),)
    else:
        tiers = tuple(
            ShareTier(_optional_minor(each.up_to, currency), each.platform_percent)
            for each in written.tiers
        )
    return RevenueShare(
        base=ShareBase(written.of),
        currency=currency,
        tiers=tiers,
        window=window_of(written.window),
        fixed_minor=_optional_minor(written.fixed_per_transaction, currency) or 0,
    )


def _optional_minor(amount: Decimal | None, currency: Currency) -> int | None:
    return None if amount is None else minor_of(amount, currency)


def minor_of(amount: Decimal, currency: Currency) -> int | None:
    """Return an amount in minor units of the currency; None where it is finer than one."""
    with exact():
        minor = amount.scaleb(currency.exponent)
    return int(minor) if minor == int(minor) else None
