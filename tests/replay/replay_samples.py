"""Catalogs and events to replay."""

from __future__ import annotations

from control_plane.catalog import compile_catalog, load_document
from weighbridge.replay.event import Dimensions, Event
from weighbridge.replay.replaying import Replay
from weighbridge.replay.report import Report
from weighbridge.replay.simulation import Terms
from weighbridge.rules.catalog import Catalog
from weighbridge.rules.judging import Asked

START_MS = 1_790_000_000_000
DAY_MS = 86_400_000

SHOP = """
catalog: shop
features:
  calls: {type: metered}
  tokens: {type: metered}
  sales: {type: metered}
  trial_calls: {type: metered, enforcement: observe}
  paid_calls: {type: metered, enforcement: observe}
  bursts: {type: metered}
  visits: {type: metered}
  file_mb: {type: number}
  support: {type: enum, values: [email, phone]}
  sso: {type: boolean}
  jobs: {type: metered, meter: allocation}
  rooms: {type: metered, meter: allocation}
plans:
  free:
    features:
      calls: {limits: [{limit: 10, window: {anniversary: month}}, {limit: 5, window: day}]}
      tokens: {limits: [{limit: 100, kind: soft, window: day}]}
      trial_calls: {limits: [{limit: 3, window: hour}], rates: [{limit: 1, per: minute, burst: 2}]}
      bursts:
        limits: [{limit: 40, window: lifetime}]
        rates: [{limit: 2, per: second, burst: 4}, {limit: 6, per: minute}]
      visits:
        limits:
          - {limit: 9, window: {session: {minutes: 2}}}
          - {limit: 12, window: {rolling: hour}}
          - {limit: 20, window: day}
      file_mb: 25
      support: [email]
      jobs: {limits: [{limit: 4}]}
  pro:
    features:
      calls: {limits: [{limit: unlimited, window: month}]}
      tokens: unlimited
      sales: unlimited
      rooms: unlimited
    prices:
      USD:
        - {flat: 20.00}
        - {feature: calls, per_unit: 0.10}
        - {feature: calls, match: {model: large}, per_unit: 0.50}
        - {feature: tokens, flat: 1.00, every: week}
        - {feature: tokens, per_unit: 0.01, every: day, included: 5}
        - {feature: rooms, per_unit: 3.00}
        - {feature: sales, percent: 10, of: usage, cap: 5.00}
"""


def compiled(text: str = SHOP) -> Catalog:
    return compile_catalog(load_document(text, "shop.yaml"), 1)


def event(
    at_ms: int,
    feature: str = "calls",
    amount: int | None = 1,
    *,
    customer: str = "acme",
    plan: str = "pro",
    dimensions: Dimensions = (),
) -> Event:
    return Event(customer, plan, at_ms, (Asked(feature, amount),), dimensions)


def replayed(
    *events: Event, draft: str = SHOP, before: str | None = None, terms: Terms | None = None
) -> Report:
    old = None if before is None else compiled(before)
    running = Replay(compiled(draft), old, terms or Terms())
    for each in events:
        running.take(each)
    return running.finish()
