"""The one place where an error becomes a status: for every method of every service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import grpc

from control_plane.api.wrapping import Context, Continuation, Handler, wrap_handler
from weighbridge.rules.errors import WeighbridgeError
from weighbridge.runtime.logs import get_logger
from weighbridge.runtime.status import status_of

OWN_METHODS: Final = "/weighbridge."
DETAIL_LENGTH_MAX: Final = 4_000
"""Details travel in a trailer, which gRPC bounds to 8 KiB."""

UNKNOWN: Final = grpc.StatusCode.UNKNOWN

CallObserver = Callable[[str, grpc.StatusCode], None]

_log = get_logger("api")


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Answers errors with their status, and tells `observe` how each call ended."""

    def __init__(self, observe: CallObserver) -> None:
        self._observe = observe

    async def intercept_service(
        self,
        continuation: Continuation,
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the methods of Weighbridge's own services."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or not method.startswith(OWN_METHODS):
            return handler
        return wrap_handler(handler, lambda context: self._answering(method, context))

    @asynccontextmanager
    async def _answering(self, method: str, context: Context) -> AsyncIterator[None]:
        code, detail = grpc.StatusCode.OK, ""
        try:
            yield
        except WeighbridgeError as error:
            code, detail = status_of(error), str(error)
        except grpc.aio.AbortError:
            self._observe(method, _code_of(context))
            raise
        except Exception:  # noqa: BLE001 (logged; the caller learns no internals)
            _log.exception("call failed", method=method)
            code, detail = grpc.StatusCode.INTERNAL, "internal error; see the control plane's log"
        self._observe(method, code)
        if code is not grpc.StatusCode.OK:
            await context.abort(code, detail[:DETAIL_LENGTH_MAX])


def _code_of(context: Context) -> grpc.StatusCode:
    """Return the status that a call was aborted with; the library hands out its number."""
    code: object = context.code()
    return next((known for known in grpc.StatusCode if code in (known, known.value[0])), UNKNOWN)
