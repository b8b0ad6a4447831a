"""What is wrong with credits: types, costs, draws, grants and top-ups beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from control_plane.catalog.compiling import Entitlements, resolve_plans, suited_plans
from control_plane.catalog.credit_compiling import (
    compile_cost,
    grant_kind,
    micro_per_million,
    resolve_credit_grants,
    resolve_top_ups,
)
from control_plane.catalog.credit_document import (
    CreditCostDocument,
    CreditExpiry,
    CreditGrantDocument,
    ExpiryDocument,
    Money,
    TopUpDocument,
)
from control_plane.catalog.currencies import find_currency
from control_plane.catalog.document import CatalogDocument
from control_plane.catalog.document_parts import NO_CURRENCY
from control_plane.catalog.grant_document import (
    AddOnLimitsDocument,
    CreditDrawDocument,
    LimitsDocument,
    RollingWindow,
    SessionWindow,
)
from control_plane.catalog.price_compiling import resolve_prices
from control_plane.catalog.price_document import CreditPriceDocument, PricesDocument
from control_plane.catalog.problem import Finding, Path, listed, quoted, unknown
from control_plane.catalog.window_compiling import TIME_ZONES
from weighbridge.rules.catalog import CreditDraw, LimitKind
from weighbridge.rules.credits import MICRO_MAX, GrantKind
from weighbridge.rules.matching import ambiguous

Owner = tuple[str, str]
"""A section, `plans` or `add_ons`, and an id in it."""


def credit_references(document: CatalogDocument) -> Iterator[Finding]:
    """Find credit types that do not exist, costs that clash, and grants wrong by themselves."""
    for id_, written in document.credit_types.items():
        yield from _currencies(("credit_types", id_, "worth"), written.worth or {})
        yield from _costs(("credit_types", id_, "costs"), written.costs, document)
    for path, type_ in _draws(document):
        yield from _known_type(path, type_, document)
    for plan_id, plan in document.plans.items():
        yield from _grants(("plans", plan_id), plan.credit_grants or (), document)
        yield from _top_ups(("plans", plan_id, "top_ups"), plan.top_ups or (), document)
    for add_on_id, add_on in document.add_ons.items():
        yield from _grants(("add_ons", add_on_id), add_on.credit_grants, document)


def credits_together(document: CatalogDocument) -> Iterator[Finding]:
    """Find what plans, add-ons and credit types make wrong together. References are sound here."""
    entitlements = resolve_plans(document)
    draws = list(_draws(document))
    yield from _without_cost(document)
    yield from _unlike_plans(document, entitlements)
    drawn = {type_ for _, type_ in draws}
    for owner, written in _all_grants(document):
        for position, grant in enumerate(written):
            if grant.type not in drawn:
                text = f"nothing is paid with {quoted(grant.type)}: let a feature of a plan say"
                yield (*owner, "credit_grants", position, "type"), f"{text} credits: {grant.type}"
    yield from _same_ids(document)
    yield from _top_up_currencies(document)
    yield from _overage(document, entitlements)


def _features(document: CatalogDocument) -> Iterator[tuple[Owner, dict[str, object]]]:
    for id_, plan in document.plans.items():
        yield ("plans", id_), dict(plan.features)
    for id_, add_on in document.add_ons.items():
        yield ("add_ons", id_), dict(add_on.features)


def _all_grants(
    document: CatalogDocument,
) -> Iterator[tuple[Owner, Sequence[CreditGrantDocument]]]:
    for id_, plan in document.plans.items():
        yield ("plans", id_), plan.credit_grants or ()
    for id_, add_on in document.add_ons.items():
        yield ("add_ons", id_), add_on.credit_grants


def _draws(document: CatalogDocument) -> Iterator[tuple[Path, str]]:
    """List where usage is paid with credits, and the credit type."""
    for owner, features in _features(document):
        for feature, grant in features.items():
            if isinstance(grant, LimitsDocument | AddOnLimitsDocument) and grant.credits:
                written = grant.credits
                type_ = written.type if isinstance(written, CreditDrawDocument) else written
                yield (*owner, "features", feature, "credits"), type_


def _known_type(path: Path, type_: str, document: CatalogDocument) -> Iterator[Finding]:
    if type_ not in document.credit_types:
        yield path, unknown("credit type", type_, document.credit_types)


def _currencies(path: Path, money: Money) -> Iterator[Finding]:
    for code in money:
        if find_currency(code) is None:
            yield (*path, code), NO_CURRENCY


def _costs(
    path: Path, costs: Sequence[CreditCostDocument], document: CatalogDocument
) -> Iterator[Finding]:
    sound: dict[str, list[int]] = {}
    for position, cost in enumerate(costs):
        found = list(_cost((*path, position), cost, document))
        yield from found
        if not found:
            sound.setdefault(cost.feature, []).append(position)
    for positions in sound.values():
        matches = [compile_cost(costs[position]).match for position in positions]
        for one, other in ambiguous(matches):
            text = f"fits the same usage as costs[{positions[one]}]; let their matches differ"
            yield (*path, positions[other]), text


def _cost(path: Path, cost: CreditCostDocument, document: CatalogDocument) -> Iterator[Finding]:
    feature = document.features.get(cost.feature)
    if feature is None:
        yield (*path, "feature"), unknown("feature", cost.feature, document.features)
    elif feature.type != "metered":
        text = f"{cost.feature} is not metered (but {feature.type}), so there is no usage to pay"
        yield (*path, "feature"), text
    elif feature.meter != "sum":
        is_held = feature.meter == "allocation"
        why = "held and given back" if is_held else "money that other usage costs"
        yield (*path, "feature"), f"{cost.feature} is {why}, so no usage of it is left to pay"
    micro = micro_per_million(cost)
    if micro is None:
        text = "a million units come to no whole number of micro-credits"
        yield (*path, "cost"), f"{text}; round the cost, or write it for fewer units"
    elif micro > MICRO_MAX:
        text = f"a million units come to more than {MICRO_MAX} micro-credits; that is too much"
        yield (*path, "cost"), text


def _grants(
    owner: Owner, grants: Sequence[CreditGrantDocument], document: CatalogDocument
) -> Iterator[Finding]:
    first_with: dict[str, int] = {}
    for position, grant in enumerate(grants):
        path: Path = (*owner, "credit_grants", position)
        yield from _known_type((*path, "type"), grant.type, document)
        first = first_with.setdefault(grant.id, position)
        if first != position:
            text = f"credit_grants[{first}] has the id {quoted(grant.id)} too"
            yield (*path, "id"), f"{text}; give each grant an id of its own"
        yield from _amount(path, grant)
        yield from _rhythm(path, grant)
        yield from _end(path, grant)
        yield from _fits_owner(path, owner, grant, document)


def _amount(path: Path, grant: CreditGrantDocument) -> Iterator[Finding]:
    if not grant.amount:
        yield (*path, "amount"), "is 0, which grants nothing; leave the grant out"


def _rhythm(path: Path, grant: CreditGrantDocument) -> Iterator[Finding]:
    """Find a kind that does not go with `every`, and windows in which nothing can be granted."""
    kind = grant_kind(grant)
    if kind is GrantKind.RECURRING and grant.every is None:
        yield (*path, "every"), "is missing: a recurring grant says how often"
    elif kind in (GrantKind.PREPAID, GrantKind.TRIAL) and grant.every is not None:
        yield (*path, "every"), f"says how often, but a {kind.value} grant comes once; leave it out"
    elif grant.every is not None:
        time_zone = getattr(grant.every, "time_zone", "UTC")
        if time_zone not in TIME_ZONES:
            text = f"{quoted(time_zone)} is not a time zone; write an IANA name such as"
            yield (*path, "every", "time_zone"), f"{text} Europe/Berlin"
        elif grant.every == "lifetime" or isinstance(grant.every, RollingWindow | SessionWindow):
            text = "is no window that comes again by itself; write a calendar or anniversary window"
            yield (*path, "every"), f"{text}, or leave it out for a grant that comes once"


def _end(path: Path, grant: CreditGrantDocument) -> Iterator[Finding]:
    if grant.every is None:
        if grant.rollover_max is not None:
            text = "says what stays when a period ends, but the grant has none"
            yield (*path, "rollover_max"), f"{text}; write every, or leave it out"
        if grant.expires == "period_end":
            text = "is period_end, but the grant has no period; write every, or another end"
            yield (*path, "expires"), text
    elif grant.rollover_max is not None and grant.expires == "period_end":
        text = "says that some stays when the period ends, but expires says that nothing does"
        yield (*path, "rollover_max"), f"{text}; keep one of them"


def _fits_owner(
    path: Path, owner: Owner, grant: CreditGrantDocument, document: CatalogDocument
) -> Iterator[Finding]:
    section, id_ = owner
    if section == "add_ons" and grant.per_seat:
        text = "is true, but an add-on is bought as often as it is needed; leave it out"
        yield (*path, "per_seat"), text
    has_trial = section == "plans" and document.plans[id_].trial is not None
    for key, is_of_trial in (
        ("kind", grant_kind(grant) is GrantKind.TRIAL),
        ("expires", grant.expires == "trial_end"),
    ):
        if is_of_trial and not has_trial:
            what = "a plan with a trial" if section == "plans" else "a plan, and not an add-on"
            yield (*path, key), f"is of a trial, which only {what} has"
            return


def _top_ups(
    path: Path, top_ups: Sequence[TopUpDocument], document: CatalogDocument
) -> Iterator[Finding]:
    first_of: dict[str, int] = {}
    for position, top_up in enumerate(top_ups):
        at: Path = (*path, position)
        yield from _known_type((*at, "type"), top_up.type, document)
        first = first_of.setdefault(top_up.type, position)
        if first != position:
            text = f"top_ups[{first}] is of {quoted(top_up.type)} too; keep one"
            yield (*at, "type"), text
        yield from _currencies((*at, "price"), top_up.price)
        if top_up.target <= top_up.threshold:
            yield (*at, "target"), "is not above threshold, so nothing would be bought"
        elif (cap := top_up.monthly_cap) is not None and cap < top_up.target - top_up.threshold:
            text = "is less than target - threshold, so not one top-up would be whole"
            yield (*at, "monthly_cap"), text
        yield from _top_up_end(at, top_up.expires)


def _top_up_end(path: Path, expires: CreditExpiry) -> Iterator[Finding]:
    if not isinstance(expires, ExpiryDocument) and expires != "never":
        yield (*path, "expires"), f"is {expires}; a top-up expires never or {{after_days: DAYS}}"


def _without_cost(document: CatalogDocument) -> Iterator[Finding]:
    for path, type_ in _draws(document):
        feature = str(path[3])
        costs = document.credit_types[type_].costs
        if all(cost.feature != feature for cost in costs):
            text = f"credit type {quoted(type_)} has no cost for {feature}"
            yield path, f"{text}; write one in credit_types.{type_}.costs"


def _unlike_plans(
    document: CatalogDocument, entitlements: dict[str, Entitlements]
) -> Iterator[Finding]:
    """Find add-ons that would have a plan's feature paid in another way than the plan says."""
    first_with: dict[tuple[str, str], tuple[str, str]] = {}
    for path, type_ in _draws(document):
        if path[0] != "add_ons":
            continue
        id_, feature = str(path[1]), str(path[3])
        for plan in suited_plans(document.add_ons[id_], document):
            entitlement = entitlements[plan].get(feature)
            if entitlement is None:
                other, first = first_with.setdefault((plan, feature), (id_, type_))
                if first != type_:
                    text = f"is not {quoted(first)}, with which add-on {quoted(other)} has"
                    yield path, f"{text} {feature} paid on plan {quoted(plan)}"
                    return
            elif entitlement.credit is None or entitlement.credit.credit_type != type_:
                paid = _paid_with(entitlement.credit)
                text = (
                    f"plan {quoted(plan)} has {feature} {paid}; an add-on changes nothing in that"
                )
                yield path, text
                return


def _paid_with(draw: CreditDraw | None) -> str:
    return "without credits" if draw is None else f"paid with {quoted(draw.credit_type)}"


def _same_ids(document: CatalogDocument) -> Iterator[Finding]:
    """Find grants of add-ons that are called like one of a plan, or of an add-on beside them."""
    grants = resolve_credit_grants(document)
    taken = {
        plan: {grant.id: f"plan {quoted(plan)}" for grant in written}
        for plan, (_, written) in grants.items()
    }
    for id_, add_on in document.add_ons.items():
        owner = f"add-on {quoted(id_)}"
        for position, grant in enumerate(add_on.credit_grants):
            others = [
                taken[plan].setdefault(grant.id, owner) for plan in suited_plans(add_on, document)
            ]
            other = next((each for each in others if each != owner), None)
            if other is not None:
                text = f"{other} has a grant {quoted(grant.id)} too; give each an id of its own"
                yield ("add_ons", id_, "credit_grants", position, "id"), text


def _top_up_currencies(document: CatalogDocument) -> Iterator[Finding]:
    prices = resolve_prices(document)
    for plan, (writer, top_ups) in resolve_top_ups(document).items():
        owner = f"plan {quoted(plan)}" + ("" if writer == plan else ", which inherits this top-up,")
        for position, top_up in enumerate(top_ups):
            path: Path = ("plans", writer, "top_ups", position, "price")
            yield from _one_currency(path, owner, top_up.price, prices[plan][1])


def _one_currency(path: Path, owner: str, price: Money, sold: PricesDocument) -> Iterator[Finding]:
    if not sold:
        return
    for code in sold:
        if code not in price:
            yield path, f"is not in {code}, in which {owner} is sold"
            return
    for code in price:
        if code not in sold:
            yield (*path, code), f"{owner} is not sold in {code}, but in {listed(list(sold))}"
            return


def _overage(document: CatalogDocument, entitlements: dict[str, Entitlements]) -> Iterator[Finding]:
    """Find prices of credits past a balance that nothing goes past."""
    for plan, (writer, prices) in resolve_prices(document).items():
        soft = _soft_types(entitlements[plan])
        owner = f"plan {quoted(plan)}" + ("" if writer == plan else ", which inherits this price,")
        for code, written in prices.items():
            for position, price in enumerate(written):
                if isinstance(price, CreditPriceDocument) and price.credits not in soft:
                    text = f"{owner} has nothing that goes past a balance of {price.credits}; let a"
                    said = f"feature say credits: {{type: {price.credits}, kind: soft}}"
                    yield ("plans", writer, "prices", code, position, "credits"), f"{text} {said}"


def _soft_types(entitlements: Entitlements) -> set[str]:
    return {
        draw.credit_type
        for each in entitlements.values()
        if (draw := each.credit) is not None and draw.kind is LimitKind.SOFT
    }
