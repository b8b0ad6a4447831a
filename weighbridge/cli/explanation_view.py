"""An explanation as people read it: what a customer has, why, and what is left of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from weighbridge.cli.customer_view import grant_text
from weighbridge.cli.instants import format_instant
from weighbridge.cli.json_shapes import enum_label
from weighbridge.cli.output import facts, listing, number, titled
from weighbridge.cli.rate_text import rate_text
from weighbridge.cli.window_text import window_text
from weighbridge.v1 import admin_service_pb2 as pb
from weighbridge.v1 import types_pb2

_WHY: Final = {
    types_pb2.REASON_REVOKED: "is revoked: it and all below it are refused",
    types_pb2.REASON_CUSTOMER_ARCHIVED: "is archived: it and all below it are refused",
    types_pb2.REASON_RESOURCE_UNKNOWN: "has no such resource",
    types_pb2.REASON_TRIAL_ENDED: "has no subscription any more: the trial ended",
}
_VERSIONS: Final = {
    pb.VERSION_CHOICE_KEPT: "pinned to it by hand",
    pb.VERSION_CHOICE_NEWEST: "the newest, which it follows",
    pb.VERSION_CHOICE_LEFT_BEHIND: "later ones are for new customers only",
}
_TIMINGS: Final = {
    pb.OVERRIDE_TIMING_ACTIVE: "override",
    pb.OVERRIDE_TIMING_PENDING: "override, not begun: changes nothing yet",
    pb.OVERRIDE_TIMING_EXPIRED: "override, expired: changes nothing any more",
}
_COUNTED: Final = {types_pb2.FEATURE_TYPE_METERED, types_pb2.FEATURE_TYPE_NUMBER}


def explanation_view(explained: pb.ExplainEntitlementResponse) -> Group:
    """Return the answer, the steps that lead to it, and the limits that count."""
    is_counted = explained.type in _COUNTED
    parts: list[RenderableType] = [_head(explained, is_counted=is_counted)]
    rows = [
        (str(position), step.customer, step_text(step), _gives(step, is_counted=is_counted))
        for position, step in enumerate(explained.steps, start=1)
    ]
    parts.append(titled("Why", listing(("", "whose", "what", "comes to"), rows)))
    if explained.limits:
        columns = ("limit", "whose", "used", "limit", "left", "window", "resets")
        usage = [_limit_row(explained, limit) for limit in explained.limits]
        parts.append(titled("What counts", listing(columns, usage)))
    if explained.rates:
        rates = [
            (each.rate.id, each.limited_by or explained.customer, rate_text(each.rate))
            for each in explained.rates
        ]
        parts.append(titled("How fast", listing(("rate", "whose", "at most"), rates)))
    return Group(*parts)


def _head(explained: pb.ExplainEntitlementResponse, *, is_counted: bool) -> RenderableType:
    reason = enum_label(types_pb2.Reason.DESCRIPTOR, explained.reason)
    answer = Text(f"no: {reason}", style="bold red") if reason else Text("yes", style="bold green")
    is_plain = not explained.limits and not explained.rates and not reason
    is_observed = explained.enforcement == types_pb2.ENFORCEMENT_OBSERVE
    changes = explained.HasField("changes_at_unix_ms")
    grants = grant_text(explained.entitlement, is_counted=is_counted) if is_plain else ""
    return facts(
        [
            ("customer", explained.customer),
            ("resource", explained.resource),
            ("feature", explained.feature),
            ("has it", answer),
            ("grants", grants if grants != "yes" else ""),
            ("because of", explained.limited_by),
            ("observed", "only counted, never refused" if is_observed else ""),
            ("catalog", f"{explained.catalog} (version {explained.catalog_version})"),
            ("as of", format_instant(explained.at_unix_ms)),
            ("changes", format_instant(explained.changes_at_unix_ms) if changes else ""),
        ]
    )


def step_text(step: pb.ExplanationStep) -> str:
    """Return one step as a sentence about the customer that it names."""
    return _TEXTS[step.kind](step)


def _refused(step: pb.ExplanationStep) -> str:
    paused = "has a subscription that is not active: paused, or past its grace"
    return _WHY.get(step.reason, paused)


def _no_subscription(step: pb.ExplanationStep) -> str:
    return _WHY.get(step.reason, "has no active subscription of its own")


def _inherited(step: pb.ExplanationStep) -> str:
    plan = f"plan {step.subscription.plan}, version {step.plan_version}"
    return f"has what {step.ancestor} has ({plan}), under the limits of {step.ancestor}"


def _plan(step: pb.ExplanationStep) -> str:
    text = f"plan {step.subscription.plan}, version {step.plan_version}: "
    if step.version_choice == pb.VERSION_CHOICE_WAITS:
        text += f"moves to the next on {format_instant(step.changes_at_unix_ms)}"
    else:
        text += _VERSIONS.get(step.version_choice, "")
    if step.subscription.is_trial:
        text += "; a trial"
        if step.subscription.HasField("ends_at_unix_ms"):
            text += f" until {format_instant(step.subscription.ends_at_unix_ms)}"
    return text


def _seats(step: pb.ExplanationStep) -> str:
    return f"limits per seat, for {step.quantity:,} {'seat' if step.quantity == 1 else 'seats'}"


def _add_on(step: pb.ExplanationStep) -> str:
    return f"add-on {step.add_on}, {step.quantity:,} of it"


def _override(step: pb.ExplanationStep) -> str:
    override = step.override
    text = f"{_TIMINGS[step.timing]}: {grant_text(override.entitlement)}"
    if override.HasField("starts_at_unix_ms"):
        text += f", from {format_instant(override.starts_at_unix_ms)}"
    if override.HasField("expires_at_unix_ms"):
        text += f", until {format_instant(override.expires_at_unix_ms)}"
    return text


def _bound(step: pb.ExplanationStep) -> str:
    if not step.entitlement.enabled:
        return "lacks it, so nobody below has it"
    return "holds for it and all below it together"


_TEXTS: Final[dict[int, Callable[[pb.ExplanationStep], str]]] = {
    pb.EXPLANATION_STEP_KIND_REFUSED: _refused,
    pb.EXPLANATION_STEP_KIND_NO_SUBSCRIPTION: _no_subscription,
    pb.EXPLANATION_STEP_KIND_INHERITED: _inherited,
    pb.EXPLANATION_STEP_KIND_PLAN: _plan,
    pb.EXPLANATION_STEP_KIND_SEATS: _seats,
    pb.EXPLANATION_STEP_KIND_ADD_ON: _add_on,
    pb.EXPLANATION_STEP_KIND_OVERRIDE: _override,
    pb.EXPLANATION_STEP_KIND_BOUND: _bound,
}


def _gives(step: pb.ExplanationStep, *, is_counted: bool) -> str:
    if step.kind in {
        pb.EXPLANATION_STEP_KIND_REFUSED,
        pb.EXPLANATION_STEP_KIND_NO_SUBSCRIPTION,
    }:
        return "nothing"
    if not step.HasField("entitlement"):
        return "no"
    if step.kind == pb.EXPLANATION_STEP_KIND_INHERITED and is_counted:
        # What it inherits of limits is counted above.
        return grant_text(step.entitlement) if step.entitlement.HasField("number") else "yes"
    return grant_text(step.entitlement, is_counted=is_counted)


def _limit_row(
    explained: pb.ExplainEntitlementResponse, usage: types_pb2.LimitUsage
) -> tuple[str | Text, ...]:
    limit = usage.limit
    kind = (enum_label(types_pb2.LimitKind.DESCRIPTOR, limit.kind) or "").lower()
    return (
        f"{limit.id} ({kind})",
        usage.limited_by or explained.customer,
        number(usage.used),
        number(limit.limit) if limit.HasField("limit") else "unlimited",
        number(usage.remaining) if usage.HasField("remaining") else "",
        window_text(limit.window),
        format_instant(usage.window_end_unix_ms) if usage.HasField("window_end_unix_ms") else "",
    )
