"""Partner apps, as the control plane sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from sidecar.wire.known import decimal_of, known
from weighbridge.rules.catalog import Limit, PartnerApp, PartnerQuota
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.revenue_share import RevenueShare, ShareBase, ShareTier
from weighbridge.rules.window import Window
from weighbridge.v1 import sync_service_pb2 as sync_pb
from weighbridge.v1 import types_pb2 as pb

SHARE_BASES: Final[Mapping[int, ShareBase]] = {
    sync_pb.SHARE_BASE_SALES: ShareBase.SALES,
    sync_pb.SHARE_BASE_USAGE: ShareBase.USAGE,
}


def partner_apps_from_proto(
    messages: Iterable[sync_pb.PartnerApp],
    limit: Callable[[pb.Limit], Limit],
    window: Callable[[pb.Window], Window],
) -> dict[str, PartnerApp]:
    """Return the partner apps, by id."""
    return {
        message.id: PartnerApp(
            id=message.id,
            name=message.name,
            permissions=tuple(message.permissions),
            quotas={
                quota.feature: PartnerQuota(
                    tuple(map(limit, quota.per_customer)), tuple(map(limit, quota.total))
                )
                for quota in message.quotas
            },
            shares=tuple(_share_from_proto(share, window) for share in message.shares),
        )
        for message in messages
    }


def _share_from_proto(
    message: sync_pb.RevenueShare, window: Callable[[pb.Window], Window]
) -> RevenueShare:
    return RevenueShare(
        base=known(SHARE_BASES, message.base, "shares.base"),
        currency=Currency(message.currency, message.exponent),
        tiers=tuple(
            ShareTier(
                tier.up_to_minor if tier.HasField("up_to_minor") else None,
                decimal_of(tier.platform_percent, "shares.tiers.platform_percent"),
            )
            for tier in message.tiers
        ),
        window=window(message.window),
        fixed_minor=message.fixed_minor,
    )
