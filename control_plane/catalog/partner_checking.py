"""What is wrong with partner apps: permissions, quotas, tables of shares, currencies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from control_plane.catalog.compiling import resolve_plans
from control_plane.catalog.currencies import currency_of, find_currency
from control_plane.catalog.document import CatalogDocument
from control_plane.catalog.document_parts import NO_CURRENCY
from control_plane.catalog.grant_document import AnniversaryWindow, RollingWindow, SessionWindow
from control_plane.catalog.partner_compiling import minor_of
from control_plane.catalog.partner_document import (
    PartnerAppDocument,
    QuotaLimitDocument,
    RevenueShareDocument,
    ShareTierDocument,
)
from control_plane.catalog.price_compiling import resolve_prices
from control_plane.catalog.problem import Finding, Path, listed, quoted, unknown
from control_plane.catalog.window_compiling import TIME_ZONES, limit_id
from weighbridge.rules.rating.money import Currency, plain
from weighbridge.rules.rating.tiers import tier_problems


def partner_references(document: CatalogDocument) -> Iterator[Finding]:
    """Find what is wrong in each partner app by itself."""
    for id_, app in document.partner_apps.items():
        path: Path = ("partner_apps", id_)
        yield from _permissions((*path, "permissions"), app, document)
        yield from _quotas((*path, "quotas"), app, document)
        yield from _shares((*path, "shares"), app.shares)


def partners_together(document: CatalogDocument) -> Iterator[Finding]:
    """Find what partner apps and plans make wrong together. References are sound here."""
    granted = {feature for each in resolve_plans(document).values() for feature in each}
    granted |= {feature for add_on in document.add_ons.values() for feature in add_on.features}
    sold = {code for _, prices in resolve_prices(document).values() for code in prices}
    for id_, app in document.partner_apps.items():
        for position, feature in enumerate(app.permissions):
            if feature not in granted:
                text = f"no plan or add-on grants {feature}, so no customer has it for the app"
                yield ("partner_apps", id_, "permissions", position), text
        yield from _usage_currencies(("partner_apps", id_, "shares"), app.shares, sold)


def _permissions(
    path: Path, app: PartnerAppDocument, document: CatalogDocument
) -> Iterator[Finding]:
    seen: set[str] = set()
    for position, feature in enumerate(app.permissions):
        if feature not in document.features:
            yield (*path, position), unknown("feature", feature, document.features)
        elif feature in seen:
            yield (*path, position), f"{quoted(feature)} is there twice; keep one"
        seen.add(feature)


def _quotas(path: Path, app: PartnerAppDocument, document: CatalogDocument) -> Iterator[Finding]:
    for id_, quota in app.quotas.items():
        at = (*path, id_)
        feature = document.features.get(id_)
        if feature is None:
            yield at, unknown("feature", id_, document.features)
        elif feature.type != "metered":
            yield at, f"{id_} is not metered (but {feature.type}), so there is no usage to limit"
        elif feature.meter != "sum":
            is_held = feature.meter == "allocation"
            why = "held and given back" if is_held else "money that other usage costs"
            yield at, f"{id_} is {why}, so there is no usage to limit"
        elif id_ not in app.permissions:
            yield at, "is not among the permissions of the app; add it there, or leave this out"
        elif not quota.per_customer and not quota.total:
            yield at, "is empty; write per_customer, total or both"
        yield from _limits((*at, "per_customer"), quota.per_customer)
        yield from _limits((*at, "total"), quota.total)


def _limits(path: Path, limits: Sequence[QuotaLimitDocument]) -> Iterator[Finding]:
    first_with: dict[str, int] = {}
    for position, limit in enumerate(limits):
        at = (*path, position)
        first = first_with.setdefault(limit_id(limit), position)
        if first != position:
            text = f"{path[-1]}[{first}] has the id {quoted(limit_id(limit))} too"
            yield (*at, *(("id",) if limit.id else ())), f"{text}; give each an id of its own"
        time_zone = getattr(limit.window, "time_zone", "UTC")
        if time_zone not in TIME_ZONES:
            text = f"{quoted(time_zone)} is not a time zone; write an IANA name such as"
            yield (*at, "window", "time_zone"), f"{text} Europe/Berlin"
        elif isinstance(limit.window, RollingWindow | SessionWindow):
            text = "moves with the use of one customer, which no quota does"
            yield (*at, "window"), f"{text}; write a calendar window"
        elif path[-1] == "total" and isinstance(limit.window, AnniversaryWindow):
            text = "turns with a subscription, but a total has none; write a calendar window"
            yield (*at, "window"), text


def _shares(path: Path, shares: Sequence[RevenueShareDocument]) -> Iterator[Finding]:
    first_of: dict[tuple[str, str], int] = {}
    for position, share in enumerate(shares):
        at = (*path, position)
        if find_currency(share.currency) is None:
            yield (*at, "currency"), NO_CURRENCY
            continue
        first = first_of.setdefault((share.of, share.currency), position)
        if first != position:
            text = f"shares[{first}] is of {share.of} in {share.currency} too; keep one"
            yield at, text
        yield from _share(at, share, currency_of(share.currency))


def _share(path: Path, share: RevenueShareDocument, currency: Currency) -> Iterator[Finding]:
    if (share.platform_percent is None) is (share.tiers is None):
        yield path, "has platform_percent or tiers, exactly one of them"
    if share.tiers is not None:
        yield from _tiers((*path, "tiers"), share.tiers, currency)
    elif "window" in share.model_fields_set:
        yield (*path, "window"), "says in what tiers count, but there are none; leave it out"
    fixed = share.fixed_per_transaction
    if fixed is not None and share.of == "usage":
        text = "is for each sale, but this share is of usage; leave it out"
        yield (*path, "fixed_per_transaction"), text
    elif fixed is not None:
        yield from _minor((*path, "fixed_per_transaction"), fixed, currency)


def _tiers(path: Path, tiers: Sequence[ShareTierDocument], currency: Currency) -> Iterator[Finding]:
    fine = [
        finding
        for position, tier in enumerate(tiers)
        if tier.up_to is not None
        for finding in _minor((*path, position, "up_to"), tier.up_to, currency)
    ]
    if fine:
        yield from fine
        return
    bounds = [None if tier.up_to is None else minor_of(tier.up_to, currency) for tier in tiers]
    for position, text in tier_problems(bounds):
        yield (*path, position, "up_to"), text
    reached = Decimal(0)
    for position, tier in enumerate(tiers):
        if tier.above is not None and tier.above != reached:
            what = "leaves a gap" if tier.above > reached else "overlaps"
            text = f"{plain(tier.above)} {what}: the tiers before it end at {plain(reached)}"
            yield (*path, position, "above"), text
        reached = reached if tier.up_to is None else tier.up_to


def _minor(path: Path, amount: Decimal, currency: Currency) -> Iterator[Finding]:
    if minor_of(amount, currency) is None:
        text = f"{plain(amount)} is finer than the minor unit of {currency.code}"
        yield path, f"{text}, which has {currency.exponent} decimal places"


def _usage_currencies(
    path: Path, shares: Sequence[RevenueShareDocument], sold: set[str]
) -> Iterator[Finding]:
    """Find currencies of usage that the app's shares leave out, or that nothing is sold in."""
    shared = {share.currency for share in shares if share.of == "usage"}
    for position, share in enumerate(shares):
        if share.of == "usage" and share.currency not in sold:
            known = listed(sorted(sold)) or "none"
            text = (
                f"no plan is sold in {share.currency}, so no usage is paid in it; there is {known}"
            )
            yield (*path, position, "currency"), text
    missing = sorted(sold - shared)
    if shared and missing:
        yield (
            path,
            f"share usage in {listed(sorted(shared))}, but plans are sold in {missing[0]} too",
        )
