"""Spend features as written to those of the rules: limits of money in micros."""

from __future__ import annotations

from decimal import Decimal

from control_plane.catalog.currencies import currency_of
from control_plane.catalog.feature_document import FeatureDocument, MeteredFeature
from weighbridge.rules.catalog import Feature, FeatureType, Meter, OutageKind, OutagePolicy
from weighbridge.rules.lease import Consistency
from weighbridge.rules.spend import MICRO_PLACES, Spend, micros_of


def spend_feature(id_: str, written: MeteredFeature) -> Feature:
    """Return a feature that counts money. Its hard limits are always leased."""
    assert written.currency is not None, id_
    currency = currency_of(written.currency)
    return Feature(
        id=id_,
        type=FeatureType.METERED,
        name=written.name or id_,
        unit=f"10^-{currency.exponent + MICRO_PLACES} {currency.code}",
        outage=OutagePolicy(OutageKind.LEASED),
        consistency=Consistency.LEASED,
        meter=Meter.SPEND,
        spend=Spend(currency, tuple(sorted(written.of or ()))),
    )


def limit_number(written: int | Decimal | str, feature: FeatureDocument) -> int | None:
    """Return a limit in units, or in micros where it is of money; None: unlimited."""
    if isinstance(written, str):
        return None
    if isinstance(feature, MeteredFeature) and feature.currency is not None:
        return micros_of(Decimal(written), currency_of(feature.currency))
    return int(written)
