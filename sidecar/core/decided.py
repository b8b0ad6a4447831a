"""An answer, from the question resolved to what is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sidecar.core.counting import Buckets, Counted
from sidecar.core.leases import Lack, Take
from sidecar.core.moment import Moment
from sidecar.core.rate_shares import RateLack
from sidecar.core.request import Request
from sidecar.core.snapshots import CustomerState
from weighbridge.rules.catalog import Feature
from weighbridge.rules.credits import Tariff
from weighbridge.rules.decision import DecidedBy, LimitState, Reason, UpgradeHint, Verdict
from weighbridge.rules.entitlement import PlanCompiler
from weighbridge.rules.granting import Grant, lineage
from weighbridge.rules.rate import Rate
from weighbridge.rules.upgrade import Question, upgrade_hints

Spent = tuple[tuple[str, int], ...]
"""Micros by spend feature."""


HINTED: Final = frozenset(
    {
        Reason.FEATURE_NOT_IN_PLAN,
        Reason.VALUE_NOT_ALLOWED,
        Reason.LIMIT_REACHED,
        Reason.RATE_LIMITED,
        Reason.SPEND_LIMIT_REACHED,
        Reason.CREDITS_EXHAUSTED,
    }
)
"""Refusals that another plan or add-on may lift."""


class Decided(NamedTuple):
    """An answer. `is_recorded`: its usage is staged in the batch's record.

    `rates` are those that its usage is taken from, `rates_above` those of its ancestors. Usage is
    recorded with all `ancestors`; None: they are not known here. `limited_by` is the one of them
    that the verdict names. `takes` are what it draws from leases. `states` are those of all
    limits it rests on, `counted` has those above. `spent` is the most that it costs; `spend` the
    spend feature whose limit the verdict names. `tariff` is what it costs in credits, of which this
    sidecar may spend `credits_held`.
    """

    request: Request
    verdict: Verdict
    decided_by: DecidedBy
    feature: Feature | None
    hints: tuple[UpgradeHint, ...]
    catalog_version: int
    snapshot_version: int
    snapshot_age_ms: int | None
    now_ms: int
    is_recorded: bool = False
    rates: tuple[Rate, ...] = ()
    ancestors: tuple[str, ...] | None = ()
    limited_by: str = ""
    rates_above: Buckets = ()
    takes: Sequence[Take] = ()
    states: Sequence[LimitState] = ()
    counted: Sequence[Counted] = ()
    spent: Spent = ()
    spend: Feature | None = None
    tariff: Tariff | None = None
    credits_held: int | None = None

    def recorded(self) -> Decided:
        """Return it with its usage staged: as `_replace` does, in a third of the time."""
        return Decided._make((*self[:_IS_RECORDED], True, *self[_IS_RECORDED + 1 :]))


_IS_RECORDED: Final = Decided._fields.index("is_recorded")


class NotLoaded(NamedTuple):
    """The customer has to be loaded before this can be answered."""

    customer: str


class NotLeased(NamedTuple):
    """Units have to be leased before this can be answered; or, first, shares of `rates` be had."""

    lacks: Sequence[Lack]
    rates: Sequence[RateLack] = ()


class Subject(NamedTuple):
    """Who asks for what, resolved."""

    request: Request
    state: CustomerState
    compiler: PlanCompiler
    grant: Grant
    feature: Feature
    moment: Moment
    # What it costs in credits.
    tariff: Tariff | None = None

    @property
    def basis(self) -> tuple[object, ...]:
        """What the customer's limits follow from."""
        edition = self.compiler.catalog.edition
        return (self.state.customer.version, edition, self.grant.changes_at_ms)


class Judged(NamedTuple):
    """A verdict, and the limits and rates it was found with."""

    verdict: Verdict
    decided_by: DecidedBy
    states: Sequence[LimitState] = ()
    rates: tuple[Rate, ...] = ()
    limited_by: str = ""
    counted: Sequence[Counted] = ()
    takes: Sequence[Take] = ()
    spent: Spent = ()
    spend: Feature | None = None
    tariff: Tariff | None = None
    credits_held: int | None = None


def _hints_of_money(
    subject: Subject, judged: Judged, spend: Feature, state: LimitState
) -> tuple[UpgradeHint, ...]:
    """Say which plan or add-on leaves enough money, at the prices that there are now."""
    above = (each for each in lineage(subject.grant.above))
    grant: Grant | None = subject.grant
    if judged.limited_by:
        grant = next(each.grant for each in above if each.customer == judged.limited_by)
    elif subject.grant.inherited_from:
        grant = None
    if grant is None:
        return ()
    question = Question(
        spend.id,
        spend.type,
        dict(judged.spent).get(spend.id, 0),
        "",
        (state,),
        subject.moment.now_ms,
        spent_on=subject.feature.id,
    )
    return upgrade_hints(subject.compiler, grant, question)


def _exhausted(subject: Subject, verdict: Verdict) -> str:
    is_exhausted = verdict.reason is Reason.CREDITS_EXHAUSTED and subject.tariff is not None
    return subject.tariff.credit_type if is_exhausted and subject.tariff is not None else ""


def hints_of(subject: Subject, judged: Judged) -> tuple[UpgradeHint, ...]:
    """Say what would have allowed it, to whoever's limit or plan refused."""
    request, verdict = subject.request, judged.verdict
    grant: Grant | None = subject.grant
    states = judged.states
    if judged.spend is not None and verdict.state is not None:
        return _hints_of_money(subject, judged, judged.spend, verdict.state)
    if judged.limited_by:
        above = (each for each in lineage(subject.grant.above))
        grant = next(each.grant for each in above if each.customer == judged.limited_by)
        states = next(
            (c.states for c in judged.counted if c.level.customer == judged.limited_by), ()
        )
    elif subject.grant.inherited_from:
        # Its own overrides refused: these would stay.
        grant = None
    if grant is None:
        return ()
    question = Question(
        subject.feature.id,
        subject.feature.type,
        request.amount,
        request.value,
        states,
        subject.moment.now_ms,
        None if verdict.rate is None else verdict.rate.rate,
        exhausted=_exhausted(subject, verdict),
    )
    return upgrade_hints(subject.compiler, grant, question)
