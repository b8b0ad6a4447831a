"""What waits to be sent to one sidecar: bounded by what it may hold, not by how slowly it reads.

Acknowledgements and revocations go first, then totals, then catalogs and customers. A customer that
changes again before it was sent is sent once, as it is by then: what waits is its id.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from control_plane.metering.records import RecordMark, SetAside
from control_plane.metering.totals import WindowTotal


class UsageSettled(NamedTuple):
    """Records are settled up to the mark."""

    mark: RecordMark


class UsageSetAside(NamedTuple):
    """Something was not applied."""

    report: SetAside


class Revoked(NamedTuple):
    """A customer is to be refused from now on."""

    customer: str
    version: int


class Totals(NamedTuple):
    """Totals of a customer that changed, and the receiver's records they include."""

    customer: str
    totals: tuple[WindowTotal, ...]
    included: tuple[RecordMark, ...]
    usage_revision: int


Urgent = UsageSettled | UsageSetAside | Revoked


class _WaitingTotals(NamedTuple):
    usage_revision: int
    totals: tuple[WindowTotal, ...]


class Outbox:
    """Everything that waits. All of it on one event loop."""

    def __init__(self) -> None:
        self._urgent: deque[Urgent] = deque()
        self._totals: dict[str, dict[tuple[str, str], _WaitingTotals]] = {}
        self._included: tuple[RecordMark, ...] = ()
        self._catalogs: dict[str, None] = {}
        self._customers: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._urgent) + len(self._totals) + len(self._catalogs) + len(self._customers)

    def put_urgent(self, message: Urgent) -> None:
        """Have something sent before everything else."""
        if isinstance(message, Revoked):
            self._customers.pop(message.customer, None)
        self._urgent.append(message)

    def put_totals(
        self,
        changed: Mapping[str, Sequence[WindowTotal]],
        included: tuple[RecordMark, ...],
        usage_revision: int,
    ) -> None:
        """Have totals sent. Those of a feature name all its current windows, read at once.

        What waits already stays true of the newer marks: had a total changed, it would be in here.
        """
        self._included = included
        for customer, totals in changed.items():
            waiting = self._totals.setdefault(customer, {})
            by_feature: dict[tuple[str, str], list[WindowTotal]] = {}
            for total in totals:
                by_feature.setdefault((total.resource, total.feature), []).append(total)
            for key, grouped in by_feature.items():
                waiting[key] = _WaitingTotals(usage_revision, tuple(grouped))

    def put_catalogs(self, catalogs: Iterable[str]) -> None:
        """Have the current versions of catalogs sent, before any customer."""
        self._catalogs.update(dict.fromkeys(catalogs))

    def put_customers(self, customers: Iterable[str]) -> None:
        """Have customers sent as they are when their turn comes."""
        self._customers.update(dict.fromkeys(customers))

    def drop_customers(self, customers: Iterable[str]) -> None:
        """Forget customers that are no longer wanted."""
        for customer in customers:
            self._customers.pop(customer, None)
            self._totals.pop(customer, None)

    def drop_older_totals(self, customer: str, usage_revision: int) -> None:
        """Forget waiting totals that a whole snapshot of the customer has newer."""
        waiting = self._totals.get(customer)
        if waiting is None:
            return
        newer = {k: w for k, w in waiting.items() if w.usage_revision > usage_revision}
        if newer:
            self._totals[customer] = newer
        else:
            del self._totals[customer]

    def take_urgent(self) -> Urgent | None:
        """Take the next urgent message."""
        return self._urgent.popleft() if self._urgent else None

    def take_totals(self) -> Totals | None:
        """Take all totals that wait of one customer."""
        if not self._totals:
            return None
        customer = next(iter(self._totals))
        waiting = self._totals.pop(customer).values()
        totals = tuple(total for item in waiting for total in item.totals)
        usage_revision = max(item.usage_revision for item in waiting)
        return Totals(customer, totals, self._included, usage_revision)

    def take_catalogs(self) -> list[str]:
        """Take all catalogs that wait."""
        taken = list(self._catalogs)
        self._catalogs.clear()
        return taken

    def take_customers(self, count: int) -> list[str]:
        """Take the next customers, at most `count`."""
        taken = list(self._customers)[:count]
        for customer in taken:
            del self._customers[customer]
        return taken
