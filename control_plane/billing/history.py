"""What a customer or resource was subscribed to, and by which prices, from its first day on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from control_plane.provisioning.catalogs import CatalogLibrary
from control_plane.provisioning.rows import subscription_from_row
from control_plane.storage.billing_tables import subscription_before
from control_plane.storage.tables import (
    catalog_version,
    plan_version,
    subscription,
    subscription_add_on,
)
from weighbridge.rules.catalog import (
    Catalog,
    Migration,
    Override,
    PlanVersion,
    SubscribedAddOn,
    Subscription,
    VersionStep,
)
from weighbridge.rules.entitlement import PlanCompiler, with_overrides
from weighbridge.rules.lifecycle import period_end_ms, version_at
from weighbridge.rules.rating.prices import Proration, currencies
from weighbridge.rules.rating.subscribed import Entitlements, terms_of
from weighbridge.rules.rating.terms import Terms


@dataclass(frozen=True, slots=True)
class Held:
    """Terms that a customer or resource was on. `until_ms` None: it still is.

    `subscriptions` that follow each other with the same anchor share a `run`.
    """

    subscription: Subscription
    plan: PlanVersion
    catalog: Catalog
    terms: Terms
    entitlements: Entitlements
    from_ms: int
    until_ms: int | None

    @property
    def proration(self) -> Proration:
        return self.plan.proration

    def continues(self, other: Held) -> bool:
        """Whether nothing changed to the other, which comes right before."""
        same = (self.plan.plan, self.plan.version) == (other.plan.plan, other.plan.version)
        return same and self.terms == other.terms

    def is_followed_by(self, other: Subscription) -> bool:
        """Whether a subscription goes on in the periods of this one."""
        mine = self.subscription
        return (
            self.until_ms == other.starts_at_ms
            and mine.anchor_ms == other.anchor_ms
            and mine.is_trial == other.is_trial
        )


class _Version(NamedTuple):
    plan: str
    catalog_version: int
    step: VersionStep


class PriceHistory:
    """Every version of one catalog, as its prices were at an instant."""

    def __init__(self, connection: Connection, library: CatalogLibrary, catalog_id: str) -> None:
        self._connection = connection
        self._library = library
        self._catalog_id = catalog_id
        table = catalog_version.c
        query = select(table.version, table.applied_at_ms).where(table.catalog_id == catalog_id)
        self._applied = connection.execute(query.order_by(table.version)).all()
        self._steps: defaultdict[str, list[VersionStep]] = defaultdict(list)
        made = plan_version.c
        rows = select(made.plan_id, made.version, made.since_ms, made.applied_migration).where(
            made.catalog_id == catalog_id
        )
        for row in connection.execute(rows.order_by(made.version)):
            step = VersionStep(row.version, row.since_ms, Migration(row.applied_migration))
            self._steps[row.plan_id].append(step)

    def changes(self, of: Subscription, from_ms: int, until_ms: int) -> set[int]:
        """Return the instants within a span at which its prices may have changed."""
        instants = {row.applied_at_ms for row in self._applied}
        for step in self._steps[of.plan]:
            if step.migration is Migration.AT_PERIOD_END:
                instants.add(period_end_ms(of.anchor_ms, step.since_ms))
        return {instant for instant in instants if from_ms < instant < until_ms}

    def catalog(self, at_ms: int) -> Catalog:
        """Return the catalog as it was; before its first version, that one."""
        version = self._applied[0].version
        for row in self._applied:
            if row.applied_at_ms <= at_ms:
                version = row.version
        return self._library.load(self._connection, self._catalog_id, version)

    def plan(self, of: Subscription, at_ms: int) -> PlanVersion:
        """Return the version of its plan that a subscription was on."""
        every = self._steps[of.plan]
        steps = [step for step in every if step.since_ms <= at_ms] or every[:1]
        number, _ = version_at(steps, of, at_ms)
        number = steps[-1].version if number is None else number
        return self._library.plan_version(self._connection, self._catalog_id, of.plan, number)


class HistoryFinder:
    """Finds who was on what, for customers of one catalog."""

    def __init__(
        self, connection: Connection, prices: PriceHistory, currency: str, now_ms: int
    ) -> None:
        self._connection = connection
        self._prices = prices
        self._currency = currency
        self._now_ms = now_ms

    def held(
        self, subscriptions: Sequence[Subscription], overrides: Sequence[Override]
    ) -> list[list[Held]]:
        """Return runs: what followed each other without a gap, in periods of one anchor.

        Raises InvalidArgumentError where prices are not in the currency.
        """
        runs: list[list[Held]] = []
        for each in subscriptions:
            if each.starts_at_ms > self._now_ms:
                continue
            spans = list(self._spans(each, overrides))
            if runs and runs[-1][-1].is_followed_by(each):
                runs[-1] = _joined([*runs[-1], *spans])
            else:
                runs.append(_joined(spans))
        return runs

    def _spans(self, of: Subscription, overrides: Sequence[Override]) -> Iterator[Held]:
        ends_ms = self._now_ms + 1 if of.ends_at_ms is None else of.ends_at_ms
        for version in self._as_it_was(of):
            from_ms = version.starts_at_ms
            until_ms = ends_ms if version.ends_at_ms is None else version.ends_at_ms
            changes = self._prices.changes(version, from_ms, min(until_ms, self._now_ms + 1))
            starts = sorted({from_ms, *changes})
            for at_ms, next_ms in zip(starts, [*starts[1:], version.ends_at_ms], strict=True):
                yield self._held_at(version, overrides, at_ms, next_ms)

    def _as_it_was(self, of: Subscription) -> Iterator[Subscription]:
        """Yield what it was, each until it was pinned or had to follow."""
        table = subscription_before.c
        query = select(subscription_before).where(table.subscription_id == of.id)
        starts_ms = of.starts_at_ms
        for row in self._connection.execute(query.order_by(table.until_ms)):
            if starts_ms < row.until_ms:
                yield replace(
                    of,
                    starts_at_ms=starts_ms,
                    ends_at_ms=row.until_ms,
                    plan_version=row.plan_version,
                    on_plan_since_ms=row.on_plan_since_ms,
                )
                starts_ms = row.until_ms
        yield replace(of, starts_at_ms=starts_ms, on_plan_since_ms=of.since_ms)

    def _held_at(
        self, of: Subscription, overrides: Sequence[Override], at_ms: int, until_ms: int | None
    ) -> Held:
        catalog, plan = self._prices.catalog(at_ms), self._prices.plan(of, at_ms)
        add_ons = [(catalog.add_ons.get(each.add_on), each.quantity) for each in of.add_ons]
        bought = [(add_on, pieces) for add_on, pieces in add_ons if add_on is not None]
        entitlements = PlanCompiler(catalog).entitlements(plan, of.add_ons, of.quantity)
        entitlements = with_overrides(entitlements, overrides)
        terms = Terms((), of.quantity)
        # A trial costs nothing.
        if not of.is_trial and (plan.prices or any(add_on.prices for add_on, _ in bought)):
            terms = terms_of(plan, bought, entitlements, of.quantity, self._currency)
        return Held(of, plan, catalog, terms, entitlements, at_ms, until_ms)


def currencies_of(
    prices: PriceHistory, subscriptions: Sequence[Subscription], now_ms: int
) -> list[str]:
    """Return the currencies that all plans of subscriptions are sold in now, in their order."""
    common: dict[str, None] | None = None
    for each in subscriptions:
        if each.starts_at_ms > now_ms or each.is_trial:
            continue
        sold_in = [c.code for c in currencies(prices.plan(each, now_ms).prices)]
        if sold_in:
            common = {c: None for c in sold_in if common is None or c in common}
    return list(common or ())


def load_subscriptions(
    connection: Connection, customers: Sequence[str]
) -> dict[tuple[str, str], list[Subscription]]:
    """Return all subscriptions that customers ever had, by customer and resource, in turn."""
    found: defaultdict[tuple[str, str], list[Subscription]] = defaultdict(list)
    add_ons: defaultdict[str, list[SubscribedAddOn]] = defaultdict(list)
    of_customers = subscription.c.customer_id.in_(list(customers))
    bought: Any = subscription_add_on.c
    query = (
        select(bought.subscription_id, bought.add_on_id, bought.quantity)
        .join(subscription, subscription.c.id == bought.subscription_id)
        .where(of_customers)
        .order_by(bought.add_on_id)
    )
    for row in connection.execute(query):
        add_ons[row.subscription_id].append(SubscribedAddOn(row.add_on_id, row.quantity))
    rows = select(subscription).where(of_customers)
    for row in connection.execute(rows.order_by(subscription.c.starts_at_ms)):
        # One that ended as it began never was.
        if row.ends_at_ms is None or row.starts_at_ms < row.ends_at_ms:
            each = subscription_from_row(row, tuple(add_ons[row.id]))
            found[row.customer_id, row.resource_id].append(each)
    return dict(found)


def _joined(spans: Sequence[Held]) -> list[Held]:
    """Put together what follows each other and is the same."""
    joined: list[Held] = []
    for span in spans:
        if joined and span.continues(joined[-1]):
            joined[-1] = replace(joined[-1], until_ms=span.until_ms)
        else:
            joined.append(span)
    return joined
