"""What waits to be sent to one sidecar: bounded by what it may hold, not by how slowly it reads.

Acknowledgements, leases and revocations go first, then totals, then catalogs and customers. A
customer that changes again before it was sent is sent once, as it is by then: what waits is its id.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final, NamedTuple

from control_plane.granting.work import (
    LeaseAnswer,
    LeaseLift,
    LeaseMessage,
    LeaseRecall,
    RateSharesTold,
    TermsRenewed,
)
from control_plane.metering.records import EpochKey, RecordMark, SetAside
from control_plane.metering.totals import WindowTotal
from control_plane.publishing.loading import FeatureKey, FeatureTotals
from weighbridge.rules.errors import ResourceExhaustedError


class UsageSettled(NamedTuple):
    """Records are settled up to the mark; totals include them as of the usage revision."""

    mark: RecordMark
    usage_revision: int


class UsageSetAside(NamedTuple):
    """Something was not applied."""

    report: SetAside


class Revoked(NamedTuple):
    """A customer is to be refused from now on. `parent` is whom it is under."""

    customer: str
    version: int
    parent: str = ""


class Totals(NamedTuple):
    """Totals of a customer that changed, and the receiver's records they include.

    With it, every change of totals up to `usage_revision` has been sent; 0 promises nothing.
    """

    customer: str
    totals: tuple[WindowTotal, ...]
    included: tuple[RecordMark, ...]
    usage_revision: int = 0


Urgent = UsageSettled | UsageSetAside | Revoked | LeaseMessage | RateSharesTold


REPORTS_WAITING_MAX: Final = 10_000
LEASES_WAITING_MAX: Final = 10_000


class Outbox:
    """Everything that waits. All of it on one event loop."""

    def __init__(self) -> None:
        # The newest mark of each epoch says what those before it said.
        self._settled: dict[EpochKey, UsageSettled] = {}
        self._revoked: dict[str, Revoked] = {}
        self._reports: deque[UsageSetAside] = deque()
        # Answers, recalls, lifts and shares, in order; of terms, the last number says all.
        self._leases: deque[LeaseMessage | RateSharesTold] = deque()
        self._renewed: TermsRenewed | None = None
        self._totals: dict[str, dict[FeatureKey, FeatureTotals]] = {}
        self._included: tuple[RecordMark, ...] = ()
        self._catalogs: dict[str, None] = {}
        self._drafts: dict[str, None] = {}
        self._customers: dict[str, None] = {}

    def __len__(self) -> int:
        urgent = len(self._settled) + len(self._revoked) + len(self._reports)
        urgent += len(self._leases) + (self._renewed is not None)
        catalogs = len(self._catalogs) + len(self._drafts)
        return urgent + len(self._totals) + catalogs + len(self._customers)

    def put_urgent(self, message: Urgent) -> None:
        """Have something sent before everything else.

        Raises ResourceExhaustedError for one more report, or message of leases, where the sidecar
        reads none of them.
        """
        match message:
            case UsageSettled(mark, _):
                self._settled[EpochKey(mark.sidecar_id, mark.epoch)] = message
            case Revoked(customer):
                self._customers.pop(customer, None)
                self._revoked[customer] = message
            case TermsRenewed():
                self._renewed = message
            case LeaseAnswer() | LeaseRecall() | LeaseLift() | RateSharesTold():
                if len(self._leases) >= LEASES_WAITING_MAX:
                    raise ResourceExhaustedError(
                        f"{LEASES_WAITING_MAX} messages of leases and rates wait to be read; "
                        "read the stream, then connect again"
                    )
                self._leases.append(message)
            case UsageSetAside():
                if len(self._reports) >= REPORTS_WAITING_MAX:
                    raise ResourceExhaustedError(
                        f"{REPORTS_WAITING_MAX} reports of usage set aside wait to be read; "
                        "read the stream, then connect again"
                    )
                self._reports.append(message)

    def put_totals(
        self,
        changed: Mapping[str, Mapping[FeatureKey, FeatureTotals]],
        included: tuple[RecordMark, ...],
    ) -> None:
        """Have totals sent. Those of a feature name all its current windows, read at once.

        What waits already stays true of the newer marks: had a total changed, it would be in here.
        """
        self._included = included
        for customer, totals in changed.items():
            self._totals.setdefault(customer, {}).update(totals)

    def put_catalogs(self, catalogs: Iterable[str]) -> None:
        """Have the current versions of catalogs sent, before any customer."""
        self._catalogs.update(dict.fromkeys(catalogs))

    def put_drafts(self, catalogs: Iterable[str]) -> None:
        """Have the drafts of catalogs sent, or that there is none."""
        self._drafts.update(dict.fromkeys(catalogs))

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
        """Take the next urgent message. A report goes before the mark that passes its record."""
        if self._reports:
            return self._reports.popleft()
        if self._settled:
            return self._settled.pop(next(iter(self._settled)))
        if self._leases:
            return self._leases.popleft()
        if self._renewed is not None:
            renewed, self._renewed = self._renewed, None
            return renewed
        if self._revoked:
            return self._revoked.pop(next(iter(self._revoked)))
        return None

    def take_totals(self) -> Totals | None:
        """Take all totals that wait of one customer."""
        if not self._totals:
            return None
        customer = next(iter(self._totals))
        waiting = self._totals.pop(customer).values()
        totals = tuple(total for item in waiting for total in item.totals)
        return Totals(customer, totals, self._included)

    def take_catalogs(self) -> list[str]:
        """Take all catalogs that wait."""
        taken = list(self._catalogs)
        self._catalogs.clear()
        return taken

    def take_drafts(self) -> list[str]:
        """Take all catalogs whose drafts wait."""
        taken = list(self._drafts)
        self._drafts.clear()
        return taken

    def take_these(self, customers: Iterable[str]) -> list[str]:
        """Take those of the customers that wait."""
        taken = [customer for customer in customers if customer in self._customers]
        for customer in taken:
            del self._customers[customer]
        return taken

    def take_customers(self, count: int) -> list[str]:
        """Take the next customers, at most `count`."""
        taken = list(islice(self._customers, count))
        for customer in taken:
            del self._customers[customer]
        return taken
