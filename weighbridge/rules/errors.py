"""The error tree. One table in `weighbridge.runtime.status` maps it to gRPC status codes.

    WeighbridgeError
    ├── InvalidArgumentError      a field of the request is wrong; names it
    ├── NotFoundError             an id that does not exist
    ├── AlreadyExistsError        an id that is taken
    ├── FailedPreconditionError   the request is sound, but something stands in the way
    ├── ConflictError             what the request was based on is no longer so
    ├── ResourceExhaustedError    a bounded queue, journal or table is full; nothing was done
    ├── UnavailableError          cannot be done now; nothing was done, a retry may pass
    └── UnauthenticatedError      no token, or an unknown one

A refusal of usage is not an error: see `weighbridge.rules.decision`.
"""

from __future__ import annotations


class WeighbridgeError(Exception):
    """Base of all errors that a caller is told about. The message says what to do."""


class InvalidArgumentError(WeighbridgeError):
    """A field of the request is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class NotFoundError(WeighbridgeError):
    """An id that does not exist."""


class AlreadyExistsError(WeighbridgeError):
    """An id that is taken."""


class FailedPreconditionError(WeighbridgeError):
    """Something that the message names stands in the way."""


class ConflictError(WeighbridgeError):
    """What the request was based on is no longer so."""


class ResourceExhaustedError(WeighbridgeError):
    """A bounded queue, journal or table is full. Nothing was done."""


class UnavailableError(WeighbridgeError):
    """Cannot be done now. Nothing was done."""


class UnauthenticatedError(WeighbridgeError):
    """No token, or one that is not known."""
