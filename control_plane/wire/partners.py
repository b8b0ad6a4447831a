"""Partner apps to protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.wire.entitlements import limit_to_proto, window_to_proto
from weighbridge.rules.catalog import PartnerApp
from weighbridge.rules.rating.money import plain
from weighbridge.rules.revenue_share import RevenueShare, ShareBase
from weighbridge.v1 import sync_service_pb2

SHARE_BASES: Final[Mapping[ShareBase, sync_service_pb2.ShareBase.ValueType]] = {
    ShareBase.SALES: sync_service_pb2.SHARE_BASE_SALES,
    ShareBase.USAGE: sync_service_pb2.SHARE_BASE_USAGE,
}


def partner_app_to_proto(app: PartnerApp) -> sync_service_pb2.PartnerApp:
    return sync_service_pb2.PartnerApp(
        id=app.id,
        name=app.name,
        permissions=app.permissions,
        quotas=[
            sync_service_pb2.PartnerQuota(
                feature=feature,
                per_customer=[limit_to_proto(limit) for limit in quota.per_customer],
                total=[limit_to_proto(limit) for limit in quota.total],
            )
            for feature, quota in app.quotas.items()
        ],
        shares=[_share_to_proto(share) for share in app.shares],
    )


def _share_to_proto(share: RevenueShare) -> sync_service_pb2.RevenueShare:
    return sync_service_pb2.RevenueShare(
        base=SHARE_BASES[share.base],
        currency=share.currency.code,
        exponent=share.currency.exponent,
        tiers=[
            sync_service_pb2.ShareTier(
                up_to_minor=tier.up_to_minor, platform_percent=plain(tier.platform_percent)
            )
            for tier in share.tiers
        ],
        window=window_to_proto(share.window),
        fixed_minor=share.fixed_minor,
    )
