"""A rate as written on a command line (ID=LIMIT/PERIOD[,BURST][,fleet]), and as people read it."""

from __future__ import annotations

import re
from typing import Final

from weighbridge.cli.exit_codes import UsageError
from weighbridge.cli.json_shapes import enum_label
from weighbridge.v1 import types_pb2

RATE_HELP: Final = "ID=LIMIT/second|minute|hour[,BURST][,fleet] changes or adds a rate; repeatable"

_PERIODS: Final = {
    "second": types_pb2.RATE_PERIOD_SECOND,
    "minute": types_pb2.RATE_PERIOD_MINUTE,
    "hour": types_pb2.RATE_PERIOD_HOUR,
}
# The server says the most; 18 digits fit 64 bits.
_RATE: Final = re.compile(r"([^=]+)=([0-9]{1,18})/([a-z]+)(?:,([0-9]{1,18}))?(,fleet)?", re.ASCII)


def parse_rate(text: str) -> types_pb2.Rate:
    """Return the rate. Raises UsageError quoting what is wrong."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise UsageError(f"--rate {text}: write ID=LIMIT/PERIOD[,BURST][,fleet]")
    rate_id, limit, period, burst, fleet = match.groups()
    if period not in _PERIODS:
        raise UsageError(f"--rate {text}: {period!r} is no period; there are {', '.join(_PERIODS)}")
    return types_pb2.Rate(
        id=rate_id,
        limit=int(limit),
        period=_PERIODS[period],
        burst=None if burst is None else int(burst),
        scope=types_pb2.RATE_SCOPE_FLEET if fleet else types_pb2.RATE_SCOPE_SIDECAR,
    )


def rate_text(rate: types_pb2.Rate) -> str:
    """Return a rate as `10 per second, burst 20`, and whether all sidecars share it."""
    period = (enum_label(types_pb2.RatePeriod.DESCRIPTOR, rate.period) or "").lower()
    shared = ", fleet-wide" if rate.scope == types_pb2.RATE_SCOPE_FLEET else ""
    return f"{rate.limit:,} per {period}, burst {rate.burst:,}{shared}"
