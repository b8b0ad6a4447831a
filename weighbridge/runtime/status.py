"""The one table between errors and gRPC status codes."""

from __future__ import annotations

from typing import Final

import grpc

from weighbridge.rules import errors

STATUS_OF_ERROR: Final[dict[type[errors.WeighbridgeError], grpc.StatusCode]] = {
    errors.InvalidArgumentError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPreconditionError: grpc.StatusCode.FAILED_PRECONDITION,
    # Not retried by itself: the caller looks at what changed first.
    errors.ConflictError: grpc.StatusCode.ABORTED,
    errors.ResourceExhaustedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    # UNAVAILABLE and not INTERNAL: nothing was done, so a client may retry.
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
}


def status_of(error: errors.WeighbridgeError) -> grpc.StatusCode:
    """Return the status code that an error is answered with."""
    return STATUS_OF_ERROR[type(error)]
