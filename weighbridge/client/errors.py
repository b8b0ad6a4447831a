"""What a call to the sidecar can raise, and the one table from gRPC status codes.

    WeighbridgeError
    ├── InvalidArgumentError          a field of the call is wrong; `field` names it
    ├── FailedPreconditionError       the sidecar is set up not to answer this, for instance since
    │                                 it serves a fixed list of customers; or a settlement that the
    │                                 excess policy of its feature does not take
    ├── NotFoundError                 a reservation that the sidecar does not hold, or no more
    ├── AlreadyExistsError            the id of a reservation that is in use, or was
    ├── ConflictError
    │   └── KeyReusedError            the idempotency key was used with another payload
    ├── ResourceExhaustedError
    │   └── OverloadedError           the sidecar is full; nothing was recorded
    ├── UnavailableError
    │   └── SidecarUnreachableError   no answer in time, or the sidecar cannot answer now
    └── UnexpectedStatusError         a status that no sidecar of this version gives

A refusal is a `Decision`, never an error. A closed client raises RuntimeError.
"""

from __future__ import annotations

from typing import Final

import grpc

from weighbridge.rules.errors import (
    AlreadyExistsError,
    ConflictError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
    WeighbridgeError,
)


class KeyReusedError(ConflictError):
    """The idempotency key was used before with another payload. Nothing was recorded."""


class OverloadedError(ResourceExhaustedError):
    """A bounded queue, journal or key table of the sidecar is full. Nothing was recorded."""


class SidecarUnreachableError(UnavailableError):
    """The sidecar gave no answer in time, or said that it cannot answer now.

    For `consume` and `report` it is unknown whether the usage was recorded: the answer may be what
    got lost. Repeat the call with `idempotency_key`, where there is one, and it counts once.
    """

    def __init__(self, message: str, idempotency_key: str | None) -> None:
        super().__init__(message)
        self.idempotency_key = idempotency_key


class UnexpectedStatusError(WeighbridgeError):
    """A gRPC status that no sidecar of this version gives: a defect, or something else listens."""

    def __init__(self, message: str, status: str) -> None:
        super().__init__(message)
        self.status = status


UNREACHABLE_CODES: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        # The sidecar stopped with the call in flight; what the caller itself cancels raises
        # asyncio.CancelledError and never comes here.
        grpc.StatusCode.CANCELLED,
    }
)


# Those whose message is the sidecar's own.
_ERRORS: Final[dict[grpc.StatusCode, type[WeighbridgeError]]] = {
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.ABORTED: KeyReusedError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
}


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the status code of a failed call."""
    code = getattr(error, "code", None)
    return code() if callable(code) else grpc.StatusCode.UNKNOWN


def error_of(error: grpc.RpcError, address: str, idempotency_key: str | None) -> WeighbridgeError:
    """Return the error to raise for a failed call."""
    code = code_of(error)
    details = _details(error)
    if code in UNREACHABLE_CODES:
        message = f"sidecar at {address}: {code.name}: {details}"
        return SidecarUnreachableError(message, idempotency_key)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        field, separator, problem = details.partition(": ")
        return InvalidArgumentError(*((field, problem) if separator else ("request", details)))
    if code in _ERRORS:
        return _ERRORS[code](details)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return OverloadedError(f"sidecar at {address}: {details}")
    message = f"{code.name}: {details}; is it a Weighbridge sidecar that listens at {address}?"
    return UnexpectedStatusError(message, code.name)


def _details(error: grpc.RpcError) -> str:
    details = getattr(error, "details", None)
    text = details() if callable(details) else None
    return text or "no details"
