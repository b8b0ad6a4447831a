"""Which of several things said of usage is meant, by the dimensions that the usage has.

The rule for prices and for credit costs alike: of those that usage fits, the one with the most
dimensions; so two that the same usage would fit equally well are a mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.units import DIMENSIONS_MAX

Match = tuple[tuple[str, str], ...]
"""Dimensions and the values that usage must have, sorted by name; () matches all usage."""


def require_match(match: Match) -> Match:
    """Return the match, or raise InvalidArgumentError unless it is sorted and not too long."""
    if len(match) > DIMENSIONS_MAX or list(match) != sorted(dict(match).items()):
        problem = f"{match!r} is not a sorted list of at most {DIMENSIONS_MAX} dimensions"
        raise InvalidArgumentError("match", problem)
    return match


def dimension_set(dimensions: Match) -> set[tuple[str, str]]:
    """Return the dimensions of usage as a set; InvalidArgumentError where one is named twice."""
    if len(dict(dimensions)) != len(dimensions):
        raise InvalidArgumentError("dimensions", f"{dimensions!r} names one of them twice")
    return set(dimensions)


def most_specific(matches: Sequence[Match], dimensions: Match) -> int | None:
    """Return the position of the match that is meant, the first of equals; None: none fits."""
    had = dimension_set(dimensions)
    fitting = [position for position, match in enumerate(matches) if had.issuperset(match)]
    return max(fitting, key=lambda position: len(matches[position]), default=None)


def ambiguous(matches: Sequence[Match]) -> Iterator[tuple[int, int]]:
    """Find pairs, by position, that the same usage would fit equally well.

    Of two that fit, the one with more dimensions is meant, so one's dimensions must include the
    other's.
    """
    group: dict[tuple[str, ...], dict[Match, int]] = {}
    for position, match in enumerate(matches):
        alike = group.setdefault(tuple(name for name, _ in match), {})
        first = alike.setdefault(match, position)
        if first != position:
            yield first, position
    # Only between those that ask for different dimensions is each looked at beside each.
    for ours, theirs in combinations(group, 2):
        if not set(ours) < set(theirs) and not set(theirs) < set(ours):
            yield from _both_fit(group[ours], group[theirs])


def _both_fit(ours: Mapping[Match, int], theirs: Mapping[Match, int]) -> Iterator[tuple[int, int]]:
    for (match, one), (other_match, other) in product(ours.items(), theirs.items()):
        wanted = dict(other_match)
        if all(wanted.get(name, value) == value for name, value in match):
            yield one, other
