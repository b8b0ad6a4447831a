"""What settled usage really cost, posted to the totals of spend features that limits count in.

By the rating rules, as what it adds to the charge of its billing period: in the order in which it
settles, and never more than it was admitted at. A pool of money gets back what was drawn too much,
for a total grows by less than leases gave (`leasing.accounts.Pool.settle`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, exists, select

from control_plane.metering.counters import Counter, CustomerCounters
from control_plane.metering.priced_units import PricedUnits, UnitsKey
from control_plane.metering.records import UsageEntry
from control_plane.metering.tally import Group, Tally
from control_plane.storage.tables import customer_ancestor
from weighbridge.rules.catalog import Feature
from weighbridge.rules.granting import Grant, NoGrant, grant_of
from weighbridge.rules.spending import PricedBy, allowance_of, cost_of, most_micros


class Spending(NamedTuple):
    """A spend feature that usage counts in: the windows of its customer's, and of those above."""

    feature: str
    currency: str
    group: Group
    above: tuple[Group, ...]


class _Charged(NamedTuple):
    """A price that usage goes to; no `units`: reckoned at the dearest."""

    priced: PricedBy
    free: int
    units: UnitsKey | None


class Spends(NamedTuple):
    """What one entry counts in, and what it costs by currency; None where no prices are known."""

    counting: tuple[Spending, ...]
    charged: dict[str, tuple[_Charged, ...] | None]


class Spent(NamedTuple):
    """Money to be stored as an event of a spend feature."""

    feature: str
    micros: int


class SpendMeter:
    """One transaction's work: `place` each entry, then `open`, then `charge`, then `write`."""

    def __init__(self, connection: Connection, tally: Tally, now_ms: int) -> None:
        self._connection = connection
        self._units = PricedUnits(connection)
        self._shares: dict[str, bool] = {}
        self._tally = tally
        self._now_ms = now_ms

    def place(self, entry: UsageEntry, customer: CustomerCounters) -> Spends | None:
        """Find the spend limits that an entry counts in; None where there are none."""
        spends = customer.catalog.compiler.spending.get(entry.feature, ())
        counting = [found for each in spends if (found := self._counting(entry, customer, each))]
        if not counting:
            return None
        grant = _grant(customer, entry.resource, self._now_ms)
        currencies = dict.fromkeys(each.currency for each in counting)
        charged = {code: self._charged(entry, customer, grant, code) for code in currencies}
        return Spends(tuple(counting), charged)

    def open(self) -> None:
        """Find what was used so far. To be called before any event of the transaction is stored."""
        self._units.open()

    def charge(self, entry: UsageEntry, spends: Spends) -> list[Spent]:
        """Count what an entry cost in every window."""
        costs = {code: self._cost(entry, of) for code, of in spends.charged.items()}
        admitted = dict(entry.spent)
        spent = []
        for each in spends.counting:
            known = (costs[each.currency], admitted.get(each.feature))
            # What it was admitted at, settlement never makes dearer.
            micros = min((cost for cost in known if cost is not None), default=0)
            if micros and each.group.add(entry.occurred_at_ms, micros, each.above):
                spent.append(Spent(each.feature, micros))
        return spent

    def write(self) -> None:
        """Store what was counted."""
        self._units.write(self._now_ms)

    def _counting(
        self, entry: UsageEntry, customer: CustomerCounters, spend: Feature
    ) -> Spending | None:
        assert spend.spend is not None, spend.id
        at_ms, now_ms = entry.occurred_at_ms, self._now_ms
        own = Counter(entry.customer, entry.resource, spend.id)
        spans = [(own, customer.span(own, at_ms, now_ms))]
        for ancestor in customer.lineage():
            counter = Counter(ancestor.customer.id, "", spend.id)
            spans.append((counter, ancestor.span(counter, at_ms, now_ms)))
        if not any(span.windows for _, span in spans):
            return None
        group, *above = (self._tally.group(counter, span) for counter, span in spans)
        return Spending(spend.id, spend.spend.currency.code, group, tuple(above))

    def _charged(
        self, entry: UsageEntry, customer: CustomerCounters, grant: Grant | NoGrant, currency: str
    ) -> tuple[_Charged, ...] | None:
        if isinstance(grant, NoGrant):
            return None
        subscription = grant.subscription
        sold = customer.catalog.compiler.prices(grant.plan, subscription.add_ons, currency)
        entitlement = grant.entitlements.get(entry.feature)
        counter = Counter(entry.customer, entry.resource, entry.feature)
        is_shared = bool(grant.inherited_from) or self._is_shared(entry)
        charged = []
        for priced in sold.find(entry.feature, entry.dimensions):
            if is_shared:
                # Several customers use up its tiers and allowances together.
                charged.append(_Charged(priced, 0, None))
                continue
            matches = tuple(p.price.match for p in sold.of(entry.feature, priced.price.every))
            at = (entry.occurred_at_ms, subscription.anchor_ms)
            units = self._units.ask(counter, (priced, matches), at)
            free = allowance_of(priced, entitlement, subscription.quantity)
            charged.append(_Charged(priced, free, units))
        return tuple(charged)

    def _is_shared(self, entry: UsageEntry) -> bool:
        """Whether a customer's subscription may serve others under it as well."""
        if entry.resource:
            return False
        found = self._shares.get(entry.customer)
        if found is None:
            below = select(exists().where(customer_ancestor.c.ancestor_id == entry.customer))
            found = self._shares[entry.customer] = bool(self._connection.scalar(below))
        return found

    def _cost(self, entry: UsageEntry, charged: Sequence[_Charged] | None) -> int | None:
        if charged is None:
            return None
        cost = 0
        for priced, free, key in charged:
            if key is None:
                cost += most_micros((priced,), entry.amount)
            else:
                before = self._units.take(key, entry.amount)
                cost += cost_of(priced, free, before, entry.amount)
        return cost


def _grant(customer: CustomerCounters, resource: str, at_ms: int) -> Grant | NoGrant:
    above = None if customer.above is None else customer.above.level(at_ms)
    return grant_of(customer.catalog.compiler, customer.customer, resource, at_ms, above)
