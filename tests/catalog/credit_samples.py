"""A catalog document that uses every key of credits and partner apps."""

from __future__ import annotations

from control_plane.catalog import compile_catalog, load_document
from weighbridge.rules.catalog import Catalog

CREDITED = """\
catalog: mail
features:
  tokens: {type: metered, unit: token}
  images: {type: metered}
  calls: {type: metered}
  seats: {type: metered, meter: allocation}
  own_domain: {type: boolean}
  unsold: {type: boolean}
credit_types:
  ai:
    name: AI credits
    unit: token of account
    decimals: 3
    worth: {USD: 0.01, EUR: 0.009}
    costs:
      - {feature: tokens, match: {model: large}, cost: 250, per: 1000000}
      - {feature: tokens, cost: 0.025, per: 1000}
      - {feature: images, cost: 4.5}
  gold: {costs: [{feature: images, cost: 1}]}
plans:
  free:
    features:
      tokens: {limits: [{limit: 1000, window: day}], credits: ai}
    credit_grants:
      - {id: start, type: ai, amount: 5}
  pro:
    extends: free
    features:
      tokens: {credits: {type: ai, kind: soft}}
      own_domain: true
      calls: unlimited
    prices:
      USD: [{flat: 10.00}, {credits: ai, per_unit: 0.02, per: 1}]
      EUR: [{flat: 9.00}, {credits: ai, per_unit: 0.018, per: 1}]
    credit_grants:
      - id: monthly
        type: ai
        amount: 1000.5
        kind: recurring
        every: {anniversary: month, time_zone: Europe/Berlin}
        per_seat: true
        priority: 10
        starts_after_days: 1
        rollover_max: 500
      - {id: bonus, type: ai, amount: 1, kind: promotional, every: year, expires: {after_days: 90}}
      - {id: tasting, type: ai, amount: 2, kind: trial}
      - {id: weekly, type: ai, amount: 3, every: week}
    top_ups:
      - type: ai
        threshold: 100
        target: 1000
        monthly_cap: 5000
        price: {USD: 20.00, EUR: 18.00}
        per: 1000
        priority: 200
        expires: {after_days: 365}
    trial: {days: 14, at_end: pro}
  team:
    extends: pro
    features: {own_domain: false}
    trial: {days: 7}
add_ons:
  pack:
    plans: [free, pro]
    credit_grants:
      - {id: pack, type: ai, amount: 100, kind: prepaid, expires: never}
  pictures:
    plans: [free]
    features:
      images: {credits: ai}
partner_apps:
  sheets:
    name: Time Sheets
    permissions: [own_domain, calls]
    quotas:
      calls:
        per_customer: [{limit: 5, window: {anniversary: month}}, {id: d, limit: 1, window: day}]
        total: [{limit: 9, kind: soft, window: month}]
    shares:
      - of: sales
        currency: USD
        window: year
        tiers:
          - {up_to: 1000.50, platform_percent: 15}
          - {above: 1000.50, up_to: 2000, platform_percent: 12.5}
          - {platform_percent: 10}
        fixed_per_transaction: 0.30
      - {of: usage, currency: USD, platform_percent: 80}
      - {of: usage, currency: EUR, platform_percent: 80}
"""


def recredited(*pairs: tuple[str, str]) -> str:
    """Return the document with each first text replaced by the second."""
    text = CREDITED
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def compiled_credits(*pairs: tuple[str, str]) -> Catalog:
    return compile_catalog(load_document(recredited(*pairs), "mail.yaml"), 1)
