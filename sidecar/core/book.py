"""The book of all usage this sidecar knows, by customer, resource and feature.

It is kept apart from the snapshots: usage can be reported for a customer that is not loaded, and a
snapshot can come for one whose usage is not included in it yet.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from sidecar.core.usage import FeatureUsage, Included, Position, PushedTotal

T = TypeVar("T")

FeatureKey = tuple[str, str]
"""Resource and feature."""


class Units(NamedTuple):
    """An amount and the instant it was used at."""

    at_ms: int
    amount: int


class Uncounted:
    """Own usage of a feature in which nothing counts here so far."""

    __slots__ = ("amount", "at_ms", "customer", "is_taken", "key", "position")

    def __init__(self, position: Position, customer: str, key: FeatureKey, units: Units) -> None:
        self.position = position
        self.customer = customer
        self.key = key
        self.at_ms = units.at_ms
        self.amount = units.amount
        # Counted elsewhere by now; it only still stands in the order of all.
        self.is_taken = False


class UnplacedUsage(NamedTuple):
    """Own usage of a customer, to be counted with those above it as well."""

    position: Position
    feature: str
    units: Units


class Unplaced:
    """Own usage of customers of whom it is not known who is above them: they are not here yet."""

    def __init__(self) -> None:
        self._customers: dict[str, list[UnplacedUsage]] = {}

    def __contains__(self, customer: str) -> bool:
        return customer in self._customers

    def customers(self) -> tuple[str, ...]:
        """Return whose usage is here."""
        return tuple(self._customers)

    def keep(self, customer: str, usage: UnplacedUsage) -> None:
        """Remember usage."""
        if usage.units.amount:
            self._customers.setdefault(customer, []).append(usage)

    def take(self, customer: str) -> list[UnplacedUsage]:
        """Return a customer's usage, and forget it."""
        return self._customers.pop(customer, [])

    def take_back(self, customer: str, units: Units) -> None:
        """Undo the newest `keep`."""
        if units.amount:
            kept = self._customers[customer]
            kept.pop()
            if not kept:
                del self._customers[customer]

    def settled(self, included: Included) -> None:
        """Forget what the control plane has settled: totals of those above include it."""
        if not self._customers:
            return
        for customer, usage in list(self._customers.items()):
            kept = [u for u in usage if u.position.number > included.get(u.position.epoch_index, 0)]
            if kept:
                self._customers[customer] = kept
            else:
                del self._customers[customer]


class UsageBook:
    """Usage per customer. A `FeatureUsage` is made when a limit is first looked at."""

    def __init__(self) -> None:
        self._customers: dict[str, dict[FeatureKey, FeatureUsage]] = {}
        # Totals as pushed, until somebody asks for the feature: small, where a FeatureUsage is not.
        self._unread: dict[str, dict[FeatureKey, Sequence[PushedTotal]]] = {}
        self._uncounted: deque[Uncounted] = deque()
        # The same by feature, so that finding those of one does not look at all.
        self._uncounted_of: dict[tuple[str, FeatureKey], deque[Uncounted]] = {}
        self._uncounted_customers: Tally[str] = Tally()
        self.unplaced = Unplaced()

    def find(self, customer: str, key: FeatureKey) -> FeatureUsage | None:
        """Return the usage of a feature that something counts in, if there is."""
        features = self._customers.get(customer)
        return None if features is None else features.get(key)

    def open(self, customer: str, key: FeatureKey) -> FeatureUsage:
        """Return the usage of a feature, made with all that is known of it."""
        features = self._customers.setdefault(customer, {})
        usage = features.get(key)
        if usage is None:
            usage = features[key] = FeatureUsage()
            unread = self._unread.get(customer, {}).pop(key, None)
            if unread is not None:
                usage.push(unread, {}, is_whole=True)
            self._move_uncounted(customer, key, usage)
        return usage

    def close(self, customer: str, key: FeatureKey) -> None:
        """Stop counting a feature that has no limits any more; keep its own usage for later."""
        usage = self._customers.get(customer, {}).pop(key, None)
        if usage is not None:
            if usage.pushed:
                self._unread.setdefault(customer, {})[key] = usage.pushed
            for own in usage.own_usage:
                self._keep(Uncounted(own.position, customer, key, Units(own.at_ms, own.amount)))

    def record(self, customer: str, key: FeatureKey, position: Position, units: Units) -> None:
        """Add own usage, counted where something counts and kept for later where nothing does."""
        if not units.amount:
            return
        usage = self.find(customer, key)
        if usage is not None:
            usage.record(position, units.at_ms, units.amount)
            return
        self._keep(Uncounted(position, customer, key, units))

    def record_late(self, customer: str, key: FeatureKey, position: Position, units: Units) -> None:
        """Add own usage that is older than what was recorded since."""
        usage = self.find(customer, key)
        if usage is not None:
            usage.record_late(position, units.at_ms, units.amount)
        else:
            self._keep(Uncounted(position, customer, key, units))

    def take_back(self, customer: str, key: FeatureKey, units: Units) -> None:
        """Undo the newest `record`; to be called in reverse order."""
        if not units.amount:
            return
        usage = self.find(customer, key)
        if usage is not None:
            usage.take_back(units.at_ms, units.amount)
        else:
            item = self._uncounted_of[customer, key].pop()
            item.is_taken = True
            self._count_down(item)

    def record_spent(
        self,
        place: tuple[str, str, str],
        position: Position,
        micros: Units,
        ancestors: Sequence[str] | None,
    ) -> None:
        """Add what own usage costs at most: by customer, resource and spend feature, and above."""
        customer, resource, feature = place
        self.record(customer, (resource, feature), position, micros)
        if ancestors is None:
            self.unplaced.keep(customer, UnplacedUsage(position, feature, micros))
            return
        for ancestor in ancestors:
            self.record(ancestor, ("", feature), position, micros)

    def take_back_spent(
        self, place: tuple[str, str, str], micros: Units, ancestors: Sequence[str] | None
    ) -> None:
        """Undo the newest `record_spent`; to be called in reverse order."""
        customer, resource, feature = place
        if ancestors is None:
            self.unplaced.take_back(customer, micros)
        for ancestor in ancestors or ():
            self.take_back(ancestor, ("", feature), micros)
        self.take_back(customer, (resource, feature), micros)

    def push(
        self,
        customer: str,
        totals: Mapping[FeatureKey, Sequence[PushedTotal]],
        included: Included,
        *,
        is_whole: bool,
    ) -> None:
        """Take in totals: of every feature where they are the whole, else of those named."""
        features = self._customers.get(customer, {})
        unread = {} if is_whole else self._unread.get(customer, {})
        for key, pushed in totals.items():
            if key not in features:
                unread[key] = tuple(pushed)
                self._take_uncounted(customer, key, included)
        if unread:
            self._unread[customer] = unread
        else:
            self._unread.pop(customer, None)
        for key, usage in features.items():
            if is_whole or key in totals:
                usage.push(totals.get(key, ()), included, is_whole=is_whole)

    def settled(self, included: Included) -> None:
        """Forget uncounted usage that the control plane has settled: totals to come include it."""
        self.unplaced.settled(included)
        uncounted = self._uncounted
        while uncounted:
            item = uncounted[0]
            if not item.is_taken:
                if item.position.number > included.get(item.position.epoch_index, 0):
                    return
                self._uncounted_of[item.customer, item.key].remove(item)
                self._count_down(item)
            uncounted.popleft()

    def has_own(self, customer: str) -> bool:
        """Whether the customer has usage here that the control plane has not included so far."""
        if customer in self._uncounted_customers or customer in self.unplaced:
            return True
        return any(usage.has_own for usage in self._customers.get(customer, {}).values())

    def features(self, customer: str) -> set[FeatureKey]:
        """Return the features of a customer of which totals are known."""
        return {*self._customers.get(customer, ()), *self._unread.get(customer, ())}

    def forget(self, customer: str) -> None:
        """Drop what is known of a customer who has no own usage here."""
        self._customers.pop(customer, None)
        self._unread.pop(customer, None)

    def _move_uncounted(self, customer: str, key: FeatureKey, usage: FeatureUsage) -> None:
        for item in self._take_uncounted(customer, key, None):
            usage.record_late(item.position, item.at_ms, item.amount)

    def _take_uncounted(
        self, customer: str, key: FeatureKey, included: Included | None
    ) -> list[Uncounted]:
        """Take out what is uncounted of a feature; where `included` is given, only up to that."""
        items = self._uncounted_of.pop((customer, key), None)
        if items is None:
            return []
        taken: list[Uncounted] = []
        kept: deque[Uncounted] = deque()
        for item in items:
            position = item.position
            if included is None or position.number <= included.get(position.epoch_index, 0):
                item.is_taken = True
                taken.append(item)
            else:
                kept.append(item)
        if kept:
            self._uncounted_of[customer, key] = kept
        for _ in taken:
            _decrement(self._uncounted_customers, customer)
        return taken

    def _keep(self, item: Uncounted) -> None:
        self._uncounted.append(item)
        self._uncounted_of.setdefault((item.customer, item.key), deque()).append(item)
        self._uncounted_customers[item.customer] += 1

    def _count_down(self, item: Uncounted) -> None:
        """Forget an item that has left its feature's."""
        if not self._uncounted_of[item.customer, item.key]:
            del self._uncounted_of[item.customer, item.key]
        _decrement(self._uncounted_customers, item.customer)


def _decrement(tally: Tally[T], key: T) -> None:
    if tally[key] == 1:
        del tally[key]
    else:
        tally[key] -= 1
