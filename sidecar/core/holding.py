"""Whether leases cover a call: every hard limit's, or the call takes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sidecar.core.book import FeatureKey
from sidecar.core.leases import Lack, Leases, Pool, Refusal
from weighbridge.rules.catalog import LimitKind
from weighbridge.rules.decision import LimitState, Verdict, leases_exhausted
from weighbridge.rules.lease import PoolKey


class Cover(NamedTuple):
    """The pools that a call draws from; what they lack; and a refusal that covers the lack."""

    pools: Sequence[Pool]
    lacks: Sequence[Lack] = ()
    refused: tuple[LimitState, Refusal] | None = None


def cover_of(
    leases: Leases,
    owner: tuple[str, FeatureKey],
    states: Sequence[LimitState],
    amount: int,
    moment: tuple[int, int],
) -> Cover:
    """Return what leases cover of an amount. Changes nothing but what is known of pools."""
    customer, (resource, feature) = owner
    boot_ms = moment[1]
    pools: list[Pool] = []
    lacks: list[Lack] = []
    refused: tuple[LimitState, Refusal] | None = None
    for state in states:
        limit = state.limit
        if limit.kind is not LimitKind.HARD or limit.limit is None:
            continue
        bounds = state.bounds
        key = PoolKey(customer, resource, feature, limit.id, bounds.start_ms)
        pool = leases.open(key, bounds.end_ms, boot_ms)
        missing = amount - leases.spendable(pool, limit.limit, boot_ms)
        if missing > 0:
            lacks.append(Lack(pool, missing, limit.limit))
            refusal = pool.refuses(limit.limit, missing, boot_ms)
            if refusal is not None and refused is None:
                refused = (state, refusal)
        pools.append(pool)
    return Cover(pools, lacks, refused)


def exhausted_verdict(cover: Cover, amount: int, moment: tuple[int, int]) -> Verdict:
    """Return the refusal where the control plane has said that there is no more."""
    assert cover.refused is not None, "there is a refusal"
    state, refusal = cover.refused
    now_ms, boot_ms = moment
    missing = max(lack.units for lack in cover.lacks)
    would_pass = max(amount - missing, 0) + refusal.available
    # Units on sidecars that cannot be reached may come back at any time.
    retry_after_ms = max(refusal.lapses_ms - boot_ms, 0) if refusal.unreachable else None
    return leases_exhausted(state, min(would_pass, amount - 1), retry_after_ms, now_ms)
