"""What an HTTP route is gated by, and how decisions become HTTP answers."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple

from weighbridge.client.values import Decision, UpgradeHint
from weighbridge.rules.decision import Reason
from weighbridge.rules.errors import InvalidArgumentError

Scope = MutableMapping[str, Any]
Headers = list[tuple[str, str]]
Extractor = Callable[[Scope], "str | Awaitable[str | None] | None"]
"""Finds a customer or resource in a request's ASGI scope; None where there is none."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets a request through where its customer may use `amount` of `feature`.

    `feature` None lets all through: for health probes and the like.
    `amount`: None counts 1; a function works it out from the ASGI scope.
    `path_prefix` matches whole segments: "/v1" matches /v1 and /v1/x, not /v10.
    `methods` empty matches all; GET includes HEAD, which frameworks serve with the same code.
    `records_usage` False only asks: for boolean and number features, and for endpoints that
    report what they really used.
    """

    feature: str | None
    amount: int | Callable[[Scope], int] | None = None
    path_prefix: str = "/"
    methods: Collection[str] = ()
    records_usage: bool = True

    def __post_init__(self) -> None:
        if not self.path_prefix.startswith("/"):
            raise InvalidArgumentError("path_prefix", f"{self.path_prefix!r} must start with /")
        if isinstance(self.methods, str):
            raise InvalidArgumentError("methods", f'is a text; give ("{self.methods}",)')

    def matches(self, method: str, path: str) -> bool:
        """Whether the gate is for such a request."""
        if self.methods and not _includes(self.methods, method):
            return False
        prefix = self.path_prefix.rstrip("/")
        return path == prefix or path.startswith(prefix + "/")

    def amount_of(self, scope: Scope) -> int | None:
        """Return the amount that the request asks for."""
        return self.amount(scope) if callable(self.amount) else self.amount


def _includes(methods: Collection[str], method: str) -> bool:
    asked = "GET" if method == "HEAD" else method
    return any(known.upper() in {asked, method} for known in methods)


def header(name: str) -> Extractor:
    """Return an extractor that reads a request header.

    Only for headers that something in front of the application sets, such as a gateway that
    authenticates: what a caller can write, a caller can forge. A header that is given twice is
    none at all.
    """
    wanted = name.lower().encode("latin-1")

    def extract(scope: Scope) -> str | None:
        found = [value for key, value in scope["headers"] if key.lower() == wanted]
        return found[0].decode("latin-1").strip() or None if len(found) == 1 else None

    return extract


def path_of(scope: Scope) -> str:
    """Return the path that the application's router sees: without the prefix it is mounted at."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :]
    return path


class HttpRefusal(NamedTuple):
    """An HTTP answer in place of the application's."""

    status: int
    body: Mapping[str, Any]
    headers: Headers


_FORBIDDEN: Final = 403
# Refused for a quota that time gives back: 429. For money: 402. While the sidecar cannot verify:
# 503, since neither customer nor plan is at fault. All else is a matter of permission: 403, also
# for an unknown customer, whose credentials were good enough to name one.
_STATUS_OF_REASON: Final[Mapping[Reason, int]] = {
    Reason.LIMIT_REACHED: 429,
    Reason.RATE_LIMITED: 429,
    Reason.PARTNER_LIMIT_REACHED: 429,
    Reason.CREDITS_EXHAUSTED: 402,
    Reason.SPEND_LIMIT_REACHED: 402,
    Reason.NO_ACTIVE_SUBSCRIPTION: 402,
    Reason.TRIAL_ENDED: 402,
    Reason.OUTAGE_POLICY: 503,
}

_MESSAGE_OF_REASON: Final[Mapping[Reason, str]] = {
    Reason.CUSTOMER_UNKNOWN: "This customer is not known.",
    Reason.CUSTOMER_ARCHIVED: "This customer's account is closed.",
    Reason.RESOURCE_UNKNOWN: "This customer has no such resource.",
    Reason.NO_ACTIVE_SUBSCRIPTION: "There is no active subscription.",
    Reason.TRIAL_ENDED: "The trial has ended.",
    Reason.FEATURE_UNKNOWN: "This feature is not offered.",
    Reason.FEATURE_NOT_IN_PLAN: "The plan does not include this feature.",
    Reason.VALUE_NOT_ALLOWED: "The plan does not include this value.",
    Reason.LIMIT_REACHED: "The limit of the plan is reached.",
    Reason.RATE_LIMITED: "Too many requests in a short time.",
    Reason.CREDITS_EXHAUSTED: "The credits are used up.",
    Reason.SPEND_LIMIT_REACHED: "The spending limit is reached.",
    Reason.PARTNER_NOT_PERMITTED: "The partner app is not permitted to use this feature.",
    Reason.PARTNER_LIMIT_REACHED: "The limit of the partner app is reached.",
    Reason.REVOKED: "Access has been revoked.",
    Reason.OUTAGE_POLICY: "Usage cannot be verified at the moment.",
}


def refusal_of(decision: Decision) -> HttpRefusal:
    """Return what to answer for a refusal: status, JSON body with upgrade hints, headers."""
    reason = decision.reason
    headers = limit_headers(decision)
    body: dict[str, Any] = {
        "reason": reason.value if reason else "refused",
        "message": _MESSAGE_OF_REASON[reason] if reason else "Not allowed.",
        "feature": decision.feature,
        "limit": decision.limit,
        "used": decision.used,
        "remaining": decision.remaining,
        "allowed_amount": decision.allowed_amount,
        "resets_at": decision.window_end.isoformat() if decision.window_end else None,
    }
    if decision.retry_after is not None:
        body["retry_after_s"] = _seconds(decision.retry_after)
        headers.append(("retry-after", str(_seconds(decision.retry_after))))
    body = {name: value for name, value in body.items() if value is not None}
    body["upgrade_hints"] = [_upgrade_hint_to_json(hint) for hint in decision.upgrade_hints]
    status = _STATUS_OF_REASON.get(reason, _FORBIDDEN) if reason else _FORBIDDEN
    return HttpRefusal(status, body, headers)


def _upgrade_hint_to_json(hint: UpgradeHint) -> dict[str, str]:
    fields = {
        "plan": hint.plan,
        "add_on": hint.add_on,
        "name": hint.name,
        "message": hint.message,
        "url": hint.url,
    }
    return {name: value for name, value in fields.items() if value}


def limit_headers(decision: Decision) -> Headers:
    """Return RateLimit-Limit, -Remaining and -Reset (in seconds), as far as they apply."""
    headers: Headers = []
    # The limit of a number feature is no quota: it has nothing that remains.
    if decision.limit is None or decision.remaining is None:
        return headers
    headers.append(("ratelimit-limit", str(decision.limit)))
    headers.append(("ratelimit-remaining", str(decision.remaining)))
    if decision.resets_in is not None:
        headers.append(("ratelimit-reset", str(_seconds(decision.resets_in))))
    return headers


def customer_missing() -> HttpRefusal:
    """Return the answer to a request that names no customer."""
    message = "The request does not say which customer it is for."
    return HttpRefusal(
        401,
        {"reason": "customer_missing", "message": message},
        [("www-authenticate", 'Weighbridge realm="customer"')],
    )


def customer_invalid(error: InvalidArgumentError) -> HttpRefusal:
    """Return the answer to a request whose customer or resource is no id."""
    return HttpRefusal(400, {"reason": f"{error.field}_invalid", "message": str(error)}, [])


def unavailable() -> HttpRefusal:
    """Return the answer while the sidecar gives none and `when_unreachable` says "raise"."""
    message = _MESSAGE_OF_REASON[Reason.OUTAGE_POLICY]
    return HttpRefusal(503, {"reason": "unavailable", "message": message}, [("retry-after", "1")])


def _seconds(span: timedelta) -> int:
    """Round up: a client that comes back a moment early is refused again."""
    return max(math.ceil(span.total_seconds()), 1)
