"""Calls to either process: the channel, the token, the deadline, and errors in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import grpc

from weighbridge.cli.exit_codes import CommandError, ExitCode, UsageError
from weighbridge.cli.options import TOKEN_FILE_VARIABLE
from weighbridge.client.address import sidecar_address
from weighbridge.rules.errors import InvalidArgumentError, WeighbridgeError
from weighbridge.runtime.tokens import read_secret_file
from weighbridge.v1.admin_service_pb2_grpc import AdminServiceStub
from weighbridge.v1.billing_service_pb2_grpc import BillingServiceStub
from weighbridge.v1.credit_service_pb2_grpc import CreditServiceStub
from weighbridge.v1.integration_service_pb2_grpc import IntegrationServiceStub
from weighbridge.v1.sidecar_service_pb2_grpc import SidecarServiceStub
from weighbridge.v1.usage_service_pb2_grpc import UsageServiceStub
from weighbridge.v1.webhook_service_pb2_grpc import WebhookServiceStub

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

_EXIT_CODE_OF_STATUS: Final[dict[grpc.StatusCode, ExitCode]] = {
    grpc.StatusCode.INVALID_ARGUMENT: ExitCode.INVALID,
    grpc.StatusCode.NOT_FOUND: ExitCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: ExitCode.CONFLICT,
    grpc.StatusCode.FAILED_PRECONDITION: ExitCode.CONFLICT,
    grpc.StatusCode.ABORTED: ExitCode.CONFLICT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ExitCode.UNAVAILABLE,
    grpc.StatusCode.UNAVAILABLE: ExitCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: ExitCode.UNAVAILABLE,
    grpc.StatusCode.UNAUTHENTICATED: ExitCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED: ExitCode.UNAUTHENTICATED,
}

# A document of a large catalog passes gRPC's 4 MiB.
_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.enable_http_proxy", 0),
)


class Peer:
    """One of the two processes: how to call it, and what to say when that fails."""

    def __init__(self, name: str, address: str, option: str, timeout_s: float) -> None:
        self.name = name
        self.address = address
        self.option = option
        self.timeout_s = timeout_s
        self.metadata: tuple[tuple[str, str], ...] = ()
        self.channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)

    def call(
        self, method: grpc.UnaryUnaryMultiCallable[RequestT, ResponseT], request: RequestT
    ) -> ResponseT:
        """Make one call within the deadline. Raises CommandError."""
        try:
            return method(request, timeout=self.timeout_s, metadata=self.metadata)
        except grpc.RpcError as error:
            raise self.explain(error) from error

    def explain(self, error: grpc.RpcError) -> CommandError:
        """Return what to tell of a failed call: the server's own words where it answered."""
        if not isinstance(error, grpc.Call):
            return CommandError(f"{self.name} at {self.address}: {error}", ExitCode.FAILED)
        status, detail = error.code(), error.details() or ""
        if status is grpc.StatusCode.UNAVAILABLE and _is_of_the_connection(detail):
            return self._unreachable(_last_words(detail))
        if status is grpc.StatusCode.DEADLINE_EXCEEDED:
            return self._unreachable(f"no answer within {self.timeout_s:g} s")
        exit_code = _EXIT_CODE_OF_STATUS.get(status, ExitCode.FAILED)
        if exit_code is ExitCode.FAILED:
            detail = f"{self.name} failed: {status.name} {detail}"
        return CommandError(detail or status.name, exit_code)

    def _unreachable(self, why: str) -> CommandError:
        return CommandError(
            f"cannot reach {self.name} at {self.address}: {why}; is it running? "
            f"(weighbridge up; another address: {self.option})",
            ExitCode.UNAVAILABLE,
        )


def _is_of_the_connection(detail: str) -> bool:
    """Whether gRPC itself wrote the detail, not the server."""
    marks = ("failed to connect", "Socket closed", "Connection reset", "DNS resolution", "GOAWAY")
    return any(mark.casefold() in detail.casefold() for mark in marks)


def _last_words(detail: str) -> str:
    """Return the part after gRPC's chain of `ADDRESS: STATUS: `, for instance a refused port."""
    return detail.rsplit(": ", 1)[-1].split(" (", 1)[0].lower()


class ControlPlane(Peer):
    """The services for administrators, with the token."""

    def __init__(self, address: str, token_file: Path, timeout_s: float) -> None:
        token = read_token(token_file)
        super().__init__("the control plane", address, "--control-plane", timeout_s)
        self.metadata = (("authorization", f"Bearer {token}"),)
        self.admin = AdminServiceStub(self.channel)
        self.credits = CreditServiceStub(self.channel)
        self.webhooks = WebhookServiceStub(self.channel)
        self.billing = BillingServiceStub(self.channel)
        self.integrations = IntegrationServiceStub(self.channel)
        self.usage = UsageServiceStub(self.channel)


class Sidecar(Peer):
    """The sidecar's service, as an application sees it."""

    def __init__(self, address: str, timeout_s: float) -> None:
        try:
            address = sidecar_address(address)
        except InvalidArgumentError as error:
            raise UsageError(f"--sidecar: {error.problem}") from error
        super().__init__("the sidecar", address, "--sidecar", timeout_s)
        self.service = SidecarServiceStub(self.channel)


def read_token(token_file: Path) -> str:
    """Return the token of a file. Raises CommandError naming the file and how to choose another."""
    try:
        return read_secret_file(token_file)
    except WeighbridgeError as error:
        raise CommandError(
            f"no admin token: {error}; name the file with --token-file or {TOKEN_FILE_VARIABLE}",
            ExitCode.UNAUTHENTICATED,
        ) from error


@contextmanager
def open_control_plane(address: str, token_file: Path, timeout_s: float) -> Iterator[ControlPlane]:
    """Open the admin service for the length of a command."""
    control_plane = ControlPlane(address, token_file, timeout_s)
    with control_plane.channel:
        yield control_plane


@contextmanager
def open_sidecar(address: str, timeout_s: float) -> Iterator[Sidecar]:
    """Open the sidecar's service for the length of a command."""
    sidecar = Sidecar(address, timeout_s)
    with sidecar.channel:
        yield sidecar
