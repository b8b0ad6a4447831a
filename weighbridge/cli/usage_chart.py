"""A chart of usage over time: stacked bars, as an SVG without scripts or fonts of its own."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Final

WIDTH: Final = 960
HEIGHT: Final = 420
LEFT: Final = 90
TOP: Final = 56
RIGHT: Final = 24
BOTTOM: Final = 84
PARTS_MAX: Final = 8
LABELS_MAX: Final = 12
OTHERS: Final = "others"

# Told apart with any common colour blindness (Okabe and Ito), grey for the rest.
COLOURS: Final = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#8C8C8C",
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STEP: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}


class Series:
    """Amounts by name and bucket; buckets without usage between two others are there too."""

    def __init__(self, every: str) -> None:
        self.every = every
        self.totals: Counter[str] = Counter()
        self._amounts: defaultdict[str, Counter[int]] = defaultdict(Counter)

    def add(self, name: str, start_ms: int, amount: int) -> None:
        """Count an amount."""
        self.totals[name] += amount
        self._amounts[name][start_ms] += amount

    @property
    def names(self) -> list[str]:
        """The largest names, and what the rest is called."""
        names = [name for name, _ in self.totals.most_common()]
        return names if len(names) <= PARTS_MAX else [*names[: PARTS_MAX - 1], OTHERS]

    @property
    def starts(self) -> list[int]:
        """When each bar begins."""
        known = sorted({start for amounts in self._amounts.values() for start in amounts})
        if not known:
            return []
        starts = [known[0]]
        while starts[-1] < known[-1]:
            starts.append(_next(starts[-1], self.every))
        return starts

    def amount(self, name: str, start_ms: int) -> int:
        """Return what a part of a bar is."""
        if name != OTHERS or name in self._amounts:
            return self._amounts[name][start_ms]
        shown = set(self.names)
        return sum(of[start_ms] for other, of in self._amounts.items() if other not in shown)


def chart_of(title: str, series: Series) -> str:
    """Return the SVG."""
    body = "\n".join(_drawn(series)) if series.starts else _text(WIDTH / 2, HEIGHT / 2, "no usage")
    total = f"{sum(series.totals.values()):,}"
    heading = f"{escape(title)}: {total} by {series.every}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="13" role="img" aria-label="{heading}">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n'
        f'<text x="{LEFT}" y="32" font-size="17" fill="#1b1f24">{heading}</text>\n'
        f"{body}\n</svg>\n"
    )


def _drawn(series: Series) -> Iterator[str]:
    starts, names = series.starts, series.names
    heights = [sum(max(series.amount(name, at), 0) for name in names) for at in starts]
    ticks = _ticks(max(heights))
    unit = (HEIGHT - TOP - BOTTOM) / ticks[-1]
    step = (WIDTH - LEFT - RIGHT) / len(starts)
    bottom = HEIGHT - BOTTOM
    for tick in ticks:
        y = bottom - tick * unit
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d8dee4"/>'
        yield _text(LEFT - 8, y + 4, _short(tick), anchor="end")
    for position, at in enumerate(starts):
        x, y = LEFT + position * step, float(bottom)
        for colour, name in zip(COLOURS, names, strict=False):
            amount = max(series.amount(name, at), 0)
            height = amount * unit
            if not amount:
                continue
            y -= height
            told = f"{name}, {_day(at, series.every)}: {amount:,}"
            yield (
                f'<rect x="{x + step * 0.1:.1f}" y="{y:.1f}" width="{step * 0.8:.1f}" '
                f'height="{height:.1f}" fill="{colour}"><title>{escape(told)}</title></rect>'
            )
        if position % math.ceil(len(starts) / LABELS_MAX) == 0:
            yield _text(x + step / 2, bottom + 20, _day(at, series.every))
    yield from _legend(names)


def _legend(names: list[str]) -> Iterator[str]:
    x = float(LEFT)
    for colour, name in zip(COLOURS, names, strict=False):
        shown = name if len(name) <= 24 else f"{name[:23]}…"  # noqa: PLR2004 - fits the line
        yield f'<rect x="{x:.0f}" y="{HEIGHT - 38}" width="12" height="12" fill="{colour}"/>'
        yield _text(x + 18, HEIGHT - 27, shown, anchor="start")
        x += 34 + 7.5 * len(shown)


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="#57606a">{escape(text)}</text>'


def _ticks(most: int) -> list[float]:
    """Return round numbers from 0 to at least the most."""
    if most <= 0:
        return [0, 1]
    rough = most / 4
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * each for each in (1, 2, 5, 10) if size * each >= rough)
    step = max(step, 1)
    return [step * count for count in range(math.ceil(most / step) + 1)]


def _short(amount: float) -> str:
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if amount >= size:
            return f"{amount / size:g}{letter}"
    return f"{amount:g}"


def _day(at_ms: int, every: str) -> str:
    at = _EPOCH + timedelta(milliseconds=at_ms)
    shapes = {"hour": "%m-%d %H:00", "month": "%Y-%m"}
    return at.strftime(shapes.get(every, "%m-%d"))


def _next(at_ms: int, every: str) -> int:
    at = _EPOCH + timedelta(milliseconds=at_ms)
    if every == "month":
        later = (at.replace(day=1) + timedelta(days=32)).replace(day=1)
    else:
        later = at + _STEP[every]
    return (later - _EPOCH) // timedelta(milliseconds=1)
