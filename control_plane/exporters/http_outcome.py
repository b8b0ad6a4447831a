"""What an HTTP answer, or none, means for what was sent."""

from __future__ import annotations

from typing import Final

import httpx

from control_plane.exporters.items import SENT, ItemState, Outcome

BODY_SHOWN_MAX: Final = 200
_PASSING: Final = frozenset({401, 403, 408, 409, 425, 429})


def outcome_of(response: httpx.Response) -> Outcome:
    """Return what an answer means: a mistake of ours is refused, anything else tried again."""
    if response.is_success:
        return SENT
    message = f"HTTP {response.status_code}: {response.text[:BODY_SHOWN_MAX]}"
    is_passing = response.status_code in _PASSING or response.is_server_error
    state = ItemState.PENDING if is_passing else ItemState.REFUSED
    return Outcome(state, message, retry_after_s(response))


def unanswered(error: httpx.HTTPError) -> Outcome:
    """Return what no answer means: it may have arrived, and is sent again alike."""
    return Outcome(ItemState.PENDING, f"{type(error).__name__}: {error}")


def retry_after_s(response: httpx.Response) -> float | None:
    """Return how long the other side asks to wait, where it says so in seconds."""
    try:
        return float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        return None
