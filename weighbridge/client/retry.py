"""One logical call: how often it is tried, when, and what it comes to. Performs no I/O."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, TypeVar, get_args

import grpc

from weighbridge.client.calls import Call
from weighbridge.client.errors import SidecarUnreachableError, code_of, error_of
from weighbridge.rules.errors import InvalidArgumentError, WeighbridgeError

T = TypeVar("T")

WhenUnreachable = Literal["raise", "allow", "deny"]

# Never ABORTED or INVALID_ARGUMENT, which a repetition cannot mend; nor RESOURCE_EXHAUSTED,
# where more calls are the last thing a full sidecar needs; nor DEADLINE_EXCEEDED: time is up.
_RETRIED_CODES: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How calls are repeated after UNAVAILABLE, always within the deadline of the call.

    Pauses double from `backoff_ms_initial` to `backoff_ms_max`, each shortened at random by up to
    half, so that many pods do not come back at once.

    `generates_keys`: `consume` and `report` without an idempotency key get a random one, the same
    for each attempt, so that a repetition cannot count twice. The sidecar keeps keys for some 15
    minutes; an application that makes more keyed calls than it has room for turns this off, and
    its calls without a key are then tried once.
    """

    attempts_max: int = 3
    backoff_ms_initial: int = 20
    backoff_ms_max: int = 500
    generates_keys: bool = True

    def __post_init__(self) -> None:
        if self.attempts_max < 1:
            raise InvalidArgumentError("attempts_max", "is less than 1; 1 means no repetition")
        if not 0 < self.backoff_ms_initial <= self.backoff_ms_max:
            problem = "is not between 1 and backoff_ms_max"
            raise InvalidArgumentError("backoff_ms_initial", problem)

    def pause_s(self, failures: int, jitter: random.Random) -> float:
        """Return how long to wait after so many failures in a row."""
        # The exponent is bounded: a watch may fail for days, and 2.0**1024 overflows.
        pause_ms = min(self.backoff_ms_initial * 2.0 ** min(failures - 1, 30), self.backoff_ms_max)
        return pause_ms * (0.5 + jitter.random() / 2) / 1000


RETRY_DEFAULT: Final = RetryPolicy()


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """How a client makes its calls."""

    address: str
    timeout_s: float
    retry: RetryPolicy
    when_unreachable: WhenUnreachable
    # Spreads repetitions, hides nothing.
    jitter: random.Random = field(default_factory=random.Random)
    now_s: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        require_timeout(self.timeout_s)
        if self.when_unreachable not in get_args(WhenUnreachable):
            problem = f"{self.when_unreachable!r} is none of raise, allow, deny"
            raise InvalidArgumentError("when_unreachable", problem)

    def timeout_of(self, timeout_s: float | None) -> float:
        """Return the timeout of one call: its own, else that of all."""
        return self.timeout_s if timeout_s is None else require_timeout(timeout_s)

    @property
    def generates_keys(self) -> bool:
        """Whether a call without an idempotency key is given one."""
        return self.retry.generates_keys and self.retry.attempts_max > 1


def require_timeout(timeout_s: float) -> float:
    """Return the timeout, or raise InvalidArgumentError unless it is positive."""
    if timeout_s > 0:
        return timeout_s
    raise InvalidArgumentError("timeout_s", f"{timeout_s} is not positive")


class Attempts(Generic[T]):
    """The attempts of one call."""

    def __init__(self, call: Call[T], policy: CallPolicy) -> None:
        self._call = call
        self._policy = policy
        self._deadline_s = policy.now_s() + policy.timeout_of(call.timeout_s)
        self._failures = 0

    def remaining_s(self) -> float:
        """Return the time left to the deadline: what the next attempt may take."""
        return max(self._deadline_s - self._policy.now_s(), 0.0)

    def pause_s_after(self, error: grpc.RpcError) -> float | None:
        """Return how long to wait before the next attempt; None: give up."""
        self._failures += 1
        if not self._call.is_repeatable or code_of(error) not in _RETRIED_CODES:
            return None
        if self._failures >= self._policy.retry.attempts_max:
            return None
        pause_s = self._policy.retry.pause_s(self._failures, self._policy.jitter)
        return pause_s if pause_s < self.remaining_s() else None

    def give_up(self, cause: grpc.RpcError) -> T:
        """Return the fallback answer where the caller chose one, else raise."""
        error = error_of(cause, self._policy.address, self._call.idempotency_key)
        fallback = self._call.fallback
        choice = self._policy.when_unreachable
        if isinstance(error, SidecarUnreachableError) and fallback and choice != "raise":
            return fallback(choice == "allow")
        raise error from cause


class Reconnects:
    """The life of a watch: it comes back after the sidecar went away, within a patience."""

    def __init__(self, policy: CallPolicy, patience_s: float | None) -> None:
        self._policy = policy
        self._patience_s = patience_s
        self._failures = 0
        self._lost_at_s: float | None = None

    def heard(self) -> None:
        """Note that the sidecar sent something."""
        self._failures = 0
        self._lost_at_s = None

    def pause_s_after(self, error: grpc.RpcError | None) -> float:
        """Return how long to wait before the next stream; None: the sidecar ended the last one.

        Raises the error where repetition cannot mend it, or where patience has run out.
        """
        now_s = self._policy.now_s()
        if self._lost_at_s is None:
            self._lost_at_s = now_s
        if error is not None and code_of(error) not in _RETRIED_CODES:
            raise error_of(error, self._policy.address, None) from error
        if self._patience_s is not None and now_s - self._lost_at_s >= self._patience_s:
            raise self._out_of_patience(error) from error
        self._failures += 1
        return self._policy.retry.pause_s(self._failures, self._policy.jitter)

    def _out_of_patience(self, error: grpc.RpcError | None) -> WeighbridgeError:
        if error is not None:
            return error_of(error, self._policy.address, None)
        message = f"sidecar at {self._policy.address}: it ends every stream without an answer"
        return SidecarUnreachableError(message, None)
