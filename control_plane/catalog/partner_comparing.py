"""Partner apps as trees of texts, to be compared."""

from __future__ import annotations

from collections.abc import Iterable

from control_plane.catalog.tree import Tree, without_empty
from weighbridge.rules.catalog import Limit, PartnerApp, PartnerQuota
from weighbridge.rules.rating.money import plain
from weighbridge.rules.revenue_share import RevenueShare


def partner_app_tree(app: PartnerApp) -> Tree:
    """Write a partner app as a tree; a share by what is shared and its currency."""
    shares: dict[str, Tree] = {}
    for share in app.shares:
        shares[f"{share.base.value}[{share.currency.code}]"] = _share_tree(share)
    return without_empty(
        {
            "name": app.name,
            "permissions": ", ".join(sorted(app.permissions)),
            "quotas": {feature: _quota_tree(quota) for feature, quota in app.quotas.items()},
            "shares": shares,
        }
    )


def _quota_tree(quota: PartnerQuota) -> Tree:
    return without_empty(
        {"per_customer": _limit_trees(quota.per_customer), "total": _limit_trees(quota.total)}
    )


def _limit_trees(limits: Iterable[Limit]) -> Tree:
    return {
        limit.id: {
            "limit": str(limit.limit),
            "kind": limit.kind.value,
            "window": limit.window.key,
        }
        for limit in limits
    }


def _share_tree(share: RevenueShare) -> Tree:
    def amount(minor: int) -> str:
        return plain(share.currency.major(minor))

    if len(share.tiers) == 1:
        percents: dict[str, Tree] = {"platform_percent": plain(share.tiers[0].platform_percent)}
    else:
        tiers: dict[str, Tree] = {
            "rest" if tier.up_to_minor is None else amount(tier.up_to_minor): plain(
                tier.platform_percent
            )
            for tier in share.tiers
        }
        percents = {"tiers": tiers, "window": share.window.key}
    fixed = amount(share.fixed_minor) if share.fixed_minor else ""
    return without_empty({**percents, "fixed_per_transaction": fixed})
