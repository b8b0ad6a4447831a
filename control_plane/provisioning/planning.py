"""What subscriptions are to be, from what is wanted and what stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from control_plane.provisioning.timeline import Timeline
from weighbridge.rules.catalog import SubscribedAddOn, Subscription, SubscriptionStatus, Trial

DAY_MS: Final = 86_400_000


class ChangeTime(Enum):
    """When a subscription changes."""

    NOW = "now"
    PERIOD_END = "period_end"


@dataclass(frozen=True, slots=True)
class WantedSubscription:
    """A plan to be on.

    No `plan_version`: as before on the plan it is on, else it follows the plan. No `anchor_ms`:
    that of the subscription it replaces, else now. No `trial_days`: as the plan says, for who comes
    to it for the first time; 0 is none. No `trial_then`: as the plan says. No `quantity`: as many
    seats as there are, else 1.
    """

    customer: str
    plan: str
    resource: str = ""
    plan_version: int | None = None
    add_ons: tuple[SubscribedAddOn, ...] = ()
    anchor_ms: int | None = None
    when: ChangeTime = ChangeTime.NOW
    trial_days: int | None = None
    trial_then: str | None = None
    quantity: int | None = None


def plan_ahead(
    wanted: WantedSubscription, timeline: Timeline, trial: Trial | None, starts_at_ms: int
) -> tuple[Subscription, ...]:
    """Return what is to be, one after the other, without ids.

    It takes over what goes on from the current subscription. `trial` is that of a plan which is
    new to the customer.
    """
    current = timeline.current
    made = _made(wanted, current, starts_at_ms)
    if current is not None and current.is_trial and _stays_in_trial(current, wanted):
        tried = replace(made, is_trial=True, ends_at_ms=current.ends_at_ms)
        return tried, *(_in_turn(each, made) for each in timeline.coming)
    days, then = _trial(wanted, trial)
    if days == 0:
        return (made,)
    ends_at_ms = starts_at_ms + days * DAY_MS
    tried = replace(made, is_trial=True, ends_at_ms=ends_at_ms)
    if not then:
        return (tried,)
    following = replace(
        made,
        plan=then,
        starts_at_ms=ends_at_ms,
        anchor_ms=ends_at_ms if wanted.anchor_ms is None else wanted.anchor_ms,
    )
    if then == wanted.plan:
        return tried, replace(following, on_plan_since_ms=made.since_ms)
    return tried, replace(following, plan_version=None, add_ons=(), on_plan_since_ms=None)


def _in_turn(coming: Subscription, made: Subscription) -> Subscription:
    """Return what follows a trial, with the terms that the trial has now."""
    changed = replace(coming, id="", quantity=made.quantity)
    return replace(changed, add_ons=made.add_ons) if coming.plan == made.plan else changed


def _stays_in_trial(current: Subscription, wanted: WantedSubscription) -> bool:
    """Whether only the terms of a trial that runs are changed."""
    return (
        wanted.plan == current.plan and wanted.trial_days is None and wanted.when is ChangeTime.NOW
    )


def _trial(wanted: WantedSubscription, trial: Trial | None) -> Trial:
    own = trial or Trial(0)
    return Trial(
        own.days if wanted.trial_days is None else wanted.trial_days,
        own.then if wanted.trial_then is None else wanted.trial_then,
    )


def _made(
    wanted: WantedSubscription, current: Subscription | None, starts_at_ms: int
) -> Subscription:
    made = Subscription(
        id="",
        resource=wanted.resource,
        plan=wanted.plan,
        plan_version=wanted.plan_version,
        add_ons=in_order(wanted.add_ons),
        status=SubscriptionStatus.ACTIVE,
        anchor_ms=starts_at_ms if wanted.anchor_ms is None else wanted.anchor_ms,
        starts_at_ms=starts_at_ms,
        quantity=wanted.quantity or (1 if current is None else current.quantity),
    )
    if current is None:
        return made
    if wanted.anchor_ms is None:
        begins_anew = current.is_trial and wanted.when is ChangeTime.PERIOD_END
        made = replace(made, anchor_ms=starts_at_ms if begins_anew else current.anchor_ms)
    if wanted.when is ChangeTime.PERIOD_END:
        made = replace(made, status=current.status, status_until_ms=current.status_until_ms)
    if wanted.plan == current.plan and wanted.plan_version in (None, current.plan_version):
        made = replace(made, plan_version=current.plan_version, on_plan_since_ms=current.since_ms)
    return made


def is_alike(coming: Subscription, new: Subscription) -> bool:
    """Whether that is to come already."""
    return replace(coming, id="", on_plan_since_ms=new.since_ms) == replace(
        new, on_plan_since_ms=new.since_ms
    )


def is_the_same(current: Subscription, wanted: WantedSubscription) -> bool:
    """Whether the subscription that stands is what is wanted."""
    return (
        current.plan == wanted.plan
        and wanted.plan_version in (None, current.plan_version)
        and current.add_ons == in_order(wanted.add_ons)
        and wanted.anchor_ms in (None, current.anchor_ms)
        and wanted.quantity in (None, current.quantity)
        and wanted.trial_days is None
        and not (current.is_trial and wanted.when is ChangeTime.PERIOD_END)
        and (current.status is SubscriptionStatus.ACTIVE or wanted.when is ChangeTime.PERIOD_END)
    )


def in_order(add_ons: tuple[SubscribedAddOn, ...]) -> tuple[SubscribedAddOn, ...]:
    """Return add-ons as they are kept: by id."""
    return tuple(sorted(add_ons, key=lambda add_on: add_on.add_on))
