"""Usage thresholds: which parts of which limits are used up, told once in each window.

Totals that changed are looked at after they are settled, in transactions of their own: settling
waits for none of this. How far that came is stored with what was told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from control_plane.metering.counters import Counter, CounterCache, CustomerCounters
from control_plane.metering.moving import MovingKey, Parts, open_parts
from control_plane.metering.totals import TotalKey, current_usage_revision, read_totals
from control_plane.notifying import EventType, Message, tell
from control_plane.notifying.messages import instant_text, is_wanted
from control_plane.storage.rows import rows_by_key
from control_plane.storage.tables import usage_total
from control_plane.storage.webhook_tables import usage_threshold, usage_threshold_progress
from weighbridge.rules.catalog import Feature, Limit
from weighbridge.rules.thresholds import percents_reached
from weighbridge.rules.window import WindowBounds, WindowKind, window_bounds

TOTALS_PER_LOOK: Final = 5_000
KEPT_MAX: Final = 100_000
PRUNED_PER_PAGE: Final = 1_000
KEPT_AFTER_END_MS: Final = 40 * 24 * 3_600_000
_PLACE: Final = (
    "customer_id",
    "resource_id",
    "feature_id",
    "limit_id",
    "window_key",
    "window_start_ms",
)


class Turn(NamedTuple):
    """A limit in one window of its own. Rolling windows have no turns: theirs starts at 0."""

    counter: Counter
    feature: Feature
    limit: Limit
    bounds: WindowBounds

    @property
    def place(self) -> tuple[str, str, str, str, str, int]:
        return (*self.counter, self.limit.id, self.limit.window.key, self.bounds.start_ms)

    @property
    def is_moving(self) -> bool:
        return self.limit.window.length_ms is not None

    @property
    def is_rolling(self) -> bool:
        return self.is_moving and self.limit.window.kind is not WindowKind.SESSION

    @property
    def key(self) -> TotalKey:
        return TotalKey(*self.counter, self.limit.window.key, self.bounds.start_ms)

    @property
    def moving_key(self) -> MovingKey:
        return MovingKey(self.counter, self.limit.window.key)


class Reached(NamedTuple):
    """What of a limit is used; `percents` are to be told, `left` are reached no more."""

    turn: Turn
    used: int
    percents: tuple[int, ...]
    left: tuple[int, ...]


class Look(NamedTuple):
    """What a look at changed totals found, from one usage revision to another."""

    since: int
    until: int
    reached: Sequence[Reached] = ()
    is_more: bool = False


class _Kept(NamedTuple):
    customer: CustomerCounters
    feature: Feature
    limits: tuple[Limit, ...]
    anchor_ms: int
    until_ms: int | None

    def holds(self, customer: CustomerCounters, now_ms: int) -> bool:
        return self.customer is customer and (self.until_ms is None or now_ms < self.until_ms)


class ThresholdFinder:
    """Finds what usage reached; remembers limits until they may change. For one thread at a time.

    The cache is nobody else's.
    """

    def __init__(self, cache: CounterCache) -> None:
        self._cache = cache
        self._kept: dict[Counter, _Kept] = {}

    def look(self, connection: Connection, now_ms: int) -> Look:
        """Look at a page of the totals that changed. Nothing is written."""
        since, newest = progress(connection), current_usage_revision(connection)
        if since >= newest or not is_wanted(connection, EventType.USAGE_THRESHOLD_REACHED):
            return Look(since, newest)
        until = _page_end(connection, since)
        counters = _changed(connection, since, newest if until is None else until)
        try:
            self._cache.refresh(connection, {counter.customer for counter in counters})
        except BaseException:
            self._cache.clear()
            raise
        turns = [turn for counter in counters for turn in self._turns(counter, now_ms)]
        reached = _news(connection, list(_used(connection, turns, now_ms)), now_ms)
        return Look(since, until or newest, reached, is_more=until is not None)

    def _turns(self, counter: Counter, now_ms: int) -> Iterator[Turn]:
        kept = self._find(counter, now_ms)
        if kept is None:
            return
        for limit in kept.limits:
            bounds = WindowBounds(0, None)
            if limit.window.length_ms is None:
                bounds = window_bounds(limit.window, now_ms, kept.anchor_ms)
            yield Turn(counter, kept.feature, limit, bounds)

    def _find(self, counter: Counter, now_ms: int) -> _Kept | None:
        customer = self._cache.find(counter.customer)
        if customer is None:
            return None
        kept = self._kept.get(counter)
        if kept is None or not kept.holds(customer, now_ms):
            if len(self._kept) >= KEPT_MAX:
                self._kept.clear()
            found = _limits_of(customer, counter, now_ms)
            if found is None:
                return None
            kept = self._kept[counter] = found
        return kept


def store(connection: Connection, look: Look, now_ms: int) -> None:
    """Tell what a look found, once. Does nothing where somebody else looked meanwhile."""
    table = usage_threshold_progress
    if look.until == look.since or progress(connection, is_changing=True) != look.since:
        return
    moved = update(table).where(table.c.id == 1).values(usage_revision=look.until)
    if not connection.execute(moved).rowcount:
        connection.execute(insert(table).values(id=1, usage_revision=look.until))
    for reached in look.reached:
        _store_one(connection, reached, now_ms)
    tell(connection, [_message(each, now_ms) for each in look.reached if each.percents], now_ms)


def progress(connection: Connection, *, is_changing: bool = False) -> int:
    """Return up to which usage revision totals were looked at."""
    query = select(usage_threshold_progress.c.usage_revision)
    if is_changing:
        query = query.with_for_update()
    return connection.execute(query).scalar_one_or_none() or 0


def prune_thresholds(connection: Connection, now_ms: int) -> int:
    """Remove a page of thresholds of windows that ended long ago; return how many went."""
    table = usage_threshold.c
    ended = table.window_end_ms <= now_ms - KEPT_AFTER_END_MS
    columns = [table[name] for name in (*_PLACE, "percent")]
    old = connection.execute(select(*columns).where(ended).limit(PRUNED_PER_PAGE)).all()
    for row in old:
        is_it = [column == value for column, value in zip(columns, row, strict=True)]
        connection.execute(delete(usage_threshold).where(*is_it))
    return len(old)


def _limits_of(customer: CustomerCounters, counter: Counter, now_ms: int) -> _Kept | None:
    feature = customer.catalog.catalog.features.get(counter.feature)
    if feature is None:
        return None
    entitled = customer.entitled(counter.resource, counter.feature, now_ms)
    entitlement = entitled.entitlement
    limits: tuple[Limit, ...] = ()
    if entitlement is not None and entitlement.enabled and feature.notify_at:
        limits = tuple(limit for limit in entitlement.limits if limit.limit)
    return _Kept(customer, feature, limits, entitled.anchor_ms, entitled.changes_at_ms)


def _page_end(connection: Connection, since: int) -> int | None:
    """Return the usage revision that ends a page; None where all that changed is on one."""
    table = usage_total.c
    query = select(table.usage_revision).where(table.usage_revision > since)
    query = query.order_by(table.usage_revision).offset(TOTALS_PER_LOOK).limit(1)
    return connection.execute(query).scalar_one_or_none()


def _changed(connection: Connection, since: int, until: int) -> list[Counter]:
    table = usage_total.c
    query = (
        select(table.customer_id, table.resource_id, table.feature_id)
        .where(table.usage_revision > since, table.usage_revision <= until)
        .distinct()
    )
    return [Counter(*row) for row in connection.execute(query)]


def _used(connection: Connection, turns: Sequence[Turn], now_ms: int) -> Iterator[tuple[Turn, int]]:
    """Yield what is used of each limit in its window; sessions get their start."""
    moving = {turn.moving_key: turn.limit.window for turn in turns if turn.is_moving}
    parts = open_parts(connection, moving, now_ms) if moving else {}
    totals = read_totals(connection, {turn.key for turn in turns if not turn.is_moving})
    for turn in turns:
        if turn.is_moving:
            yield _moving(turn, parts[turn.moving_key], now_ms)
        else:
            yield turn, totals.get(turn.key, 0)


def _moving(turn: Turn, parts: Parts, now_ms: int) -> tuple[Turn, int]:
    if turn.is_rolling:
        return turn, sum(parts.current.values())
    begun = [start_ms for start_ms in parts.current if start_ms <= now_ms]
    if not begun:
        return turn, 0
    start_ms = max(begun)
    bounds = WindowBounds(start_ms, start_ms + (turn.limit.window.length_ms or 0))
    return turn._replace(bounds=bounds), parts.current[start_ms]


def _news(connection: Connection, used: Sequence[tuple[Turn, int]], now_ms: int) -> list[Reached]:
    """Return what was not told, or is reached no more."""
    places = [turn.place for turn, _ in used]
    told: dict[tuple[Any, ...], dict[int, Any]] = {}
    for row in rows_by_key(connection, usage_threshold, _PLACE, places):
        found = dict(zip(usage_threshold.c.keys(), row, strict=True))
        place = tuple(found[name] for name in _PLACE)
        told.setdefault(place, {})[found["percent"]] = found
    news = []
    for turn, amount in used:
        limit = turn.limit.limit or 0
        known = told.get(turn.place, {})
        reached = percents_reached(turn.feature.notify_at, amount, limit)
        fresh = [each for each in reached if not _is_told(turn, known.get(each), now_ms)]
        # Seats come back: what is reached again is told again.
        left = sorted(known.keys() - set(reached)) if turn.feature.is_allocation else ()
        if fresh or left:
            news.append(Reached(turn, amount, tuple(fresh), tuple(left)))
    return news


def _is_told(turn: Turn, found: dict[str, Any] | None, now_ms: int) -> bool:
    """Whether it was told in this window, under no lower limit."""
    if found is None or found["limit_units"] < (turn.limit.limit or 0):
        return False
    length_ms = turn.limit.window.length_ms or 0
    return not turn.is_rolling or now_ms < found["reached_at_ms"] + length_ms


def _store_one(connection: Connection, reached: Reached, now_ms: int) -> None:
    turn, table = reached.turn, usage_threshold.c
    place = dict(zip(_PLACE, turn.place, strict=True))
    is_of = [table[name] == value for name, value in place.items()]
    gone = (*reached.percents, *reached.left)
    connection.execute(delete(usage_threshold).where(*is_of, table.percent.in_(gone)))
    rows = [
        {
            **place,
            "percent": percent,
            "limit_units": turn.limit.limit,
            "window_end_ms": turn.bounds.end_ms,
            "reached_at_ms": now_ms,
        }
        for percent in reached.percents
    ]
    if rows:
        connection.execute(insert(usage_threshold), rows)


def _message(reached: Reached, now_ms: int) -> Message:
    """Tell of the highest of the parts that were reached at once."""
    turn = reached.turn
    spend = turn.feature.spend
    data = {
        "resource": turn.counter.resource or None,
        "feature": turn.counter.feature,
        "limit": turn.limit.id,
        "kind": turn.limit.kind.value,
        "percent": max(reached.percents),
        "used": reached.used,
        "limit_units": turn.limit.limit,
        "currency": None if spend is None else spend.currency.code,
        "window_start": instant_text(turn.bounds.start_ms or None),
        "window_end": instant_text(turn.bounds.end_ms),
    }
    return Message(EventType.USAGE_THRESHOLD_REACHED, turn.counter.customer, now_ms, data)
