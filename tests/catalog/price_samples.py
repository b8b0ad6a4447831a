"""A catalog document that uses every kind of price."""

from __future__ import annotations

from control_plane.catalog import compile_catalog, load_document
from weighbridge.rules.catalog import Catalog

PRICED = """\
catalog: mail
features:
  mails: {type: metered, unit: mail}
  bytes: {type: metered}
  sales: {type: metered, unit: cent}
  own_domain: {type: boolean}
plans:
  free:
    features:
      mails: {limits: [{limit: 1000, window: month}]}
  pro:
    features:
      mails: {limits: [{limit: 50000, kind: soft, window: month}]}
      bytes: unlimited
    prices:
      USD:
        - {flat: 10.00}
        - {per_seat: "5", included: 2}
        - {feature: mails, per_unit: 0.40, per: 1000, past_limit: month}
        - feature: bytes
          per: 1000
          included: 10
          included_per_seat: 5
          graduated:
            - {up_to: 100, unit: 0}
            - {above: 100, up_to: 200, unit: 7.00, flat: 1}
            - {unit: 5.60}
        - {feature: bytes, match: {region: eu, class: a}, package: 2.50, size: 100}
        - {feature: sales, percent: 2.9, of: usage, flat_per_transaction: 0.30, cap: 5.00}
        - {id: discount, of: seats, volume: [{up_to: 10, unit: 3}, {flat: 1}]}
        - {minimum: 20}
        - {commitment: 30, feature: bytes}
        - {flat: 100, id: support, every: year, feature: own_domain}
    proration: difference
  team:
    extends: pro
    features:
      own_domain: true
add_ons:
  half:
    plans: [pro]
    prices: {USD: [{percent: 50, of: fees}]}
  more_mails:
    plans: [pro]
    features:
      mails: {limits: [{id: month, limit: 1000}]}
    prices: {USD: [{flat: 3}]}
"""


def repriced(*pairs: tuple[str, str]) -> str:
    """Return the document with each first text replaced by the second."""
    text = PRICED
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def compiled_prices(*pairs: tuple[str, str]) -> Catalog:
    return compile_catalog(load_document(repriced(*pairs), "mail.yaml"), 1)
