"""What no single value shows: ids that must exist, grants that must fit, cycles, add-on limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from control_plane.catalog.compiling import (
    Entitlements,
    rate_id,
    resolve_plans,
    suited_plans,
)
from control_plane.catalog.document import CANCEL, CatalogDocument
from control_plane.catalog.feature_document import EnumFeature, FeatureDocument, MeteredFeature
from control_plane.catalog.grant_document import (
    AddOnGrant,
    AddOnLimitDocument,
    AddOnLimitsDocument,
    AddOnRateDocument,
    Grant,
    LimitDocument,
    LimitsDocument,
    RateDocument,
    RollingWindow,
    SessionWindow,
)
from control_plane.catalog.problem import Finding, Path, listed, quoted, unknown
from control_plane.catalog.window_compiling import TIME_ZONES, length_ms, limit_id, window_of
from weighbridge.rules.catalog import Entitlement, Limit
from weighbridge.rules.rate import Rate
from weighbridge.rules.window import length_problem, length_text

ENTITLEMENTS_MAX: Final = 20_000
"""Limits and other grants of all plans, inheritance resolved: it bounds a snapshot's size."""

Bound = LimitDocument | AddOnLimitDocument | RateDocument | AddOnRateDocument

_PARTS: Final = ("limits", "rates", "credits")
_PLAN_FORMS: Final = {
    "boolean": "true or false",
    "number": "an integer, unlimited or false",
    "enum": "a list of its values, or false",
    "metered": "limits, rates, credits, unlimited or false",
}
_ADD_ON_FORMS: Final = {
    "boolean": "true",
    "number": "an integer or unlimited",
    "enum": "a list of its values",
    "metered": "limits, rates, credits or unlimited",
}


def references(document: CatalogDocument) -> Iterator[Finding]:
    """Find ids that do not exist or are there twice, and grants that do not fit their feature."""
    for id_, feature in document.features.items():
        if isinstance(feature, EnumFeature):
            yield from _repeated(("features", id_, "values"), feature.values)
        if isinstance(feature, MeteredFeature):
            yield from _leased(("features", id_), feature)
    if document.default_plan is not None and document.default_plan not in document.plans:
        yield ("default_plan",), unknown("plan", document.default_plan, document.plans)
    for id_ in document.plans:
        yield from _plan(id_, document)
    for id_, add_on in document.add_ons.items():
        path: Path = ("add_ons", id_)
        yield from _plan_list((*path, "plans"), add_on.plans or [], document)
        yield from _grants(path, add_on.features, document)
    yield from _cycles(document)


def _leased(path: Path, feature: MeteredFeature) -> Iterator[Finding]:
    """Find what only a feature of which sidecars keep leases can have."""
    if feature.consistency == "leased":
        return
    nothing = f"with {feature.consistency}, no sidecar has leases to"
    if feature.outage == "leased":
        yield (*path, "outage"), f"needs consistency: leased; {nothing} spend"
    if feature.lost_lease is not None:
        yield (*path, "lost_lease"), f"needs consistency: leased; {nothing} lose"


def _plan(id_: str, document: CatalogDocument) -> Iterator[Finding]:
    plan, path = document.plans[id_], ("plans", id_)
    if plan.extends is not None and plan.extends not in document.plans:
        yield (*path, "extends"), unknown("plan", plan.extends, document.plans)
    if plan.trial is not None and plan.trial.at_end not in (CANCEL, *document.plans):
        then = unknown("plan", plan.trial.at_end, document.plans)
        yield (*path, "trial", "at_end"), f"{then}; or write {CANCEL}"
    yield from _plan_list((*path, "upgrades_to"), plan.upgrades_to, document)
    for position, above in enumerate(plan.upgrades_to):
        if above == id_:
            yield (*path, "upgrades_to", position), "is the plan itself; leave it out"
    yield from _grants(path, plan.features, document)


def add_on_limits(document: CatalogDocument) -> Iterator[Finding]:
    """Find add-on limits that some plan has nothing to add to. References are sound here."""
    resolved = resolve_plans(document)
    size = sum(_size(entitlements) for entitlements in resolved.values())
    if size > ENTITLEMENTS_MAX:
        text = f"hold {size} limits and other grants, inherited ones included; at most"
        yield ("plans",), f"{text} {ENTITLEMENTS_MAX}"
    for id_, add_on in document.add_ons.items():
        for feature, grant in add_on.features.items():
            if isinstance(grant, AddOnLimitsDocument):
                suited = {plan: resolved[plan] for plan in suited_plans(add_on, document)}
                path: Path = ("add_ons", id_, "features", feature)
                is_held = _is_held(document.features[feature])
                for position, limit in enumerate(grant.limits or ()):
                    is_whole = is_held or limit.window is not None
                    here = (*path, "limits", position)
                    yield from _added_part(here, limit, suited, is_whole=is_whole)
                for position, rate in enumerate(grant.rates or ()):
                    here = (*path, "rates", position)
                    is_whole = rate.per is not None
                    yield from _added_part(here, rate, suited, is_whole=is_whole)


def _size(entitlements: Entitlements) -> int:
    return sum(
        max(1, len(each.limits) + len(each.rates), len(each.values))
        for each in entitlements.values()
    )


def _grants(
    owner: Path, grants: Mapping[str, Grant] | Mapping[str, AddOnGrant], document: CatalogDocument
) -> Iterator[Finding]:
    for id_, grant in grants.items():
        path = (*owner, "features", id_)
        feature = document.features.get(id_)
        if feature is None:
            yield path, unknown("feature", id_, document.features)
        else:
            yield from _grant(path, id_, feature, grant)


def _grant(
    path: Path, id_: str, feature: FeatureDocument, grant: Grant | AddOnGrant
) -> Iterator[Finding]:
    is_plan = path[0] == "plans"
    if grant is False:
        if not is_plan:
            yield path, "is false, but an add-on takes nothing away; leave the feature out"
        return
    if not _fits(feature, grant):
        forms = (_PLAN_FORMS if is_plan else _ADD_ON_FORMS)[feature.type]
        said = f"{id_} is {_article(feature.type)} feature"
        if isinstance(grant, LimitsDocument | AddOnLimitsDocument):
            part = next((key for key in _PARTS if getattr(grant, key) is not None), "limits")
            yield (*path, part), f"{said} and takes no {part}; write {forms}"
        else:
            yield path, f"{said}; write {forms}"
    elif isinstance(feature, EnumFeature) and isinstance(grant, list):
        yield from _values(path, id_, feature, grant)
    elif isinstance(grant, LimitsDocument | AddOnLimitsDocument):
        yield from _bounds(path, feature, grant)


def _fits(feature: FeatureDocument, grant: Grant | AddOnGrant) -> bool:
    match feature.type:
        case "boolean":
            return isinstance(grant, bool)
        case "number":
            return grant == "unlimited" or (isinstance(grant, int) and not isinstance(grant, bool))
        case "enum":
            return isinstance(grant, list)
        case "metered":
            return grant == "unlimited" or isinstance(grant, LimitsDocument | AddOnLimitsDocument)


def _values(
    path: Path, id_: str, feature: EnumFeature, granted: Sequence[str]
) -> Iterator[Finding]:
    yield from _repeated(path, granted)
    for position, value in enumerate(granted):
        if value not in feature.values:
            text = f"{quoted(value)} is not a value of {id_}"
            yield (*path, position), f"{text}; its values: {listed(feature.values)}"


def _bounds(
    path: Path, feature: FeatureDocument, grant: LimitsDocument | AddOnLimitsDocument
) -> Iterator[Finding]:
    """Find limits and rates of one feature that cannot be told apart, and wrong windows."""
    parts: dict[str, Sequence[Bound]] = {"limits": grant.limits or (), "rates": grant.rates or ()}
    if not any(parts.values()) and grant.credits is None:
        yield path, "is empty; write limits, rates, credits or several of them"
    first_with: dict[str, str] = {}
    for part, bounds in parts.items():
        for position, bound in enumerate(bounds):
            here = f"{part}[{position}]"
            id_ = _bound_id(bound)
            first = first_with.setdefault(id_, here)
            if first != here:
                word = part.removesuffix("s")
                text = f"{first} has the id {quoted(id_)} too; give each {word} an id of its own"
                yield (*path, part, position, *(("id",) if bound.id else ())), text
    yield from _windows((*path, "limits"), grant.limits or (), is_held=_is_held(feature))


def _is_held(feature: FeatureDocument) -> bool:
    return isinstance(feature, MeteredFeature) and feature.meter == "allocation"


def _bound_id(written: Bound) -> str:
    if isinstance(written, LimitDocument):
        return limit_id(written)
    return rate_id(written) if isinstance(written, RateDocument) else written.id


def _windows(
    path: Path, limits: Sequence[LimitDocument | AddOnLimitDocument], *, is_held: bool
) -> Iterator[Finding]:
    for position, limit in enumerate(limits):
        if is_held and limit.window is not None:
            text = "is for usage; of an allocation feature, what is held now counts: leave it out"
            yield (*path, position, "window"), text
            continue
        if not is_held and limit.window is None and isinstance(limit, LimitDocument):
            yield (*path, position, "window"), "is missing"
        if isinstance(limit.window, RollingWindow | SessionWindow):
            yield from _length((*path, position, "window"), limit.window)
        time_zone = getattr(limit.window, "time_zone", "UTC")
        if time_zone not in TIME_ZONES:
            text = f"{quoted(time_zone)} is not a time zone; write an IANA name such as"
            yield (*path, position, "window", "time_zone"), f"{text} Europe/Berlin"


def _length(path: Path, window: RollingWindow | SessionWindow) -> Iterator[Finding]:
    kind, written = (
        ("rolling", window.rolling)
        if isinstance(window, RollingWindow)
        else ("session", window.session)
    )
    length = length_ms(written)
    if not length:
        yield (*path, kind), "says no length; write minutes, hours, days or several of them"
    elif length_problem(length) is not None:
        yield (*path, kind), f"is {length_text(length)} long; a window has at most 366 days"


def _plan_list(path: Path, plans: Sequence[str], document: CatalogDocument) -> Iterator[Finding]:
    yield from _repeated(path, plans)
    for position, plan in enumerate(plans):
        if plan not in document.plans:
            yield (*path, position), unknown("plan", plan, document.plans)


def _repeated(path: Path, words: Sequence[str]) -> Iterator[Finding]:
    seen: set[str] = set()
    for position, word in enumerate(words):
        if word in seen:
            yield (*path, position), f"{quoted(word)} is there twice; keep one"
        seen.add(word)


def _cycles(document: CatalogDocument) -> Iterator[Finding]:
    """Find each cycle of `extends` once."""
    sound: set[str] = set()
    for id_ in document.plans:
        line: list[str] = []
        plan: str | None = id_
        while plan in document.plans and plan not in sound and plan not in line:
            line.append(plan)
            plan = document.plans[plan].extends
        if plan in line:
            cycle = [*line[line.index(plan) :], plan]
            shown = " -> ".join(cycle if len(cycle) <= 10 else [*cycle[:9], "...", plan])  # noqa: PLR2004
            yield ("plans", plan, "extends"), f"plans inherit in a cycle: {shown}"
        sound.update(line)


def _added_part(
    path: Path,
    part: AddOnLimitDocument | AddOnRateDocument,
    plans: Mapping[str, Entitlements],
    *,
    is_whole: bool,
) -> Iterator[Finding]:
    """Find what keeps an add-on's limit or rate from being added to what its plans have.

    One that `is_whole` says when it turns itself, where a plan lacks the feature.
    """
    feature = str(path[3])
    is_limit = isinstance(part, AddOnLimitDocument)
    word, clock = ("limit", "window") if is_limit else ("rate", "per")
    has_part_to_add_to = False
    for plan, entitlements in plans.items():
        entitlement = entitlements.get(feature)
        if entitlement is None:
            if not is_whole:
                text = f"plan {quoted(plan)} has no {feature} whose {word} this could add to"
                yield (*path, "id"), f"{text}; give it a {clock}, or name the plans it suits"
            continue
        parts = _parts(entitlement, part)
        of_plan = next((each for each in parts if each.id == part.id), None)
        if of_plan is not None:
            has_part_to_add_to = True
            yield from _agreement(path, part, plan, of_plan)
        elif parts:
            text = f"plan {quoted(plan)} has no {word} {quoted(part.id)} on {feature}"
            yield (*path, "id"), f"{text}; it has: {listed([each.id for each in parts])}"
    if not has_part_to_add_to and not is_whole:
        text = f"no plan that it suits has a {word} {quoted(part.id)} on {feature} to add to"
        yield (*path, "id"), text


def _parts(
    entitlement: Entitlement, like: AddOnLimitDocument | AddOnRateDocument
) -> Sequence[Limit | Rate]:
    return entitlement.limits if isinstance(like, AddOnLimitDocument) else entitlement.rates


def _agreement(
    path: Path, part: AddOnLimitDocument | AddOnRateDocument, plan: str, of_plan: Limit | Rate
) -> Iterator[Finding]:
    """Find what an add-on says otherwise than the plan whose limit or rate it adds to."""
    own = f"of plan {quoted(plan)}; leave it out, or use another id"
    if isinstance(part, AddOnLimitDocument) and isinstance(of_plan, Limit):
        if part.kind not in (None, of_plan.kind.value):
            yield (*path, "kind"), f"is not {of_plan.kind.value}, the kind {own}"
        if part.window is not None and window_of(part.window).key != of_plan.window.key:
            yield (*path, "window"), f"is not {of_plan.window.text}, the window {own}"
    if (
        isinstance(part, AddOnRateDocument)
        and isinstance(of_plan, Rate)
        and part.per not in (None, of_plan.period.value)
    ):
        yield (*path, "per"), f"is not {of_plan.period.value}, the period {own}"


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"
