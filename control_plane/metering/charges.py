"""What usage costs in credits that no sidecar priced: it was reported for who was not loaded."""

from __future__ import annotations

from control_plane.crediting import LedgerId
from control_plane.metering.counters import CustomerCounters
from control_plane.metering.records import CreditCharge, UsageEntry
from weighbridge.rules.credits import Tariff
from weighbridge.rules.granting import NoGrant, bounded, grant_of


def unadmitted_charge(customer: CustomerCounters, entry: UsageEntry) -> CreditCharge | None:
    """Return what usage costs at what there is now; None: nothing, or no cost is known for it."""
    at_ms = entry.occurred_at_ms
    compiler = customer.catalog.compiler
    above = None if customer.above is None else customer.above.level(at_ms)
    grant = grant_of(compiler, customer.customer, entry.resource, at_ms, above)
    if isinstance(grant, NoGrant):
        return None
    entitlement = bounded(grant, entry.feature).entitlement
    if entitlement is None or entitlement.credit is None:
        return None
    credit_type = compiler.catalog.credit_types[entitlement.credit.credit_type]
    cost = credit_type.cost(entry.feature, entry.dimensions)
    if cost is None:
        return None
    payer = grant.inherited_from or entry.customer
    tariff = Tariff(payer, credit_type.id, cost.micro)
    return CreditCharge(LedgerId(payer, credit_type.id), tariff.charge(entry.amount))
