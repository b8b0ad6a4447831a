"""Wraps the behaviour of a gRPC method, whatever its kind."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, TypeAlias

import grpc

# In quotes: these classes take parameters only in their type stubs.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"
Around: TypeAlias = "Callable[[Context], AbstractAsyncContextManager[None]]"


def wrap_handler(handler: Handler, around: Around) -> Handler:
    """Return the handler with its behaviour run within `around(context)`.

    The services here have unary calls and bidirectional streams; others stay as they are.
    """
    if handler.unary_unary is not None:
        return grpc.unary_unary_rpc_method_handler(
            _wrap_call(handler.unary_unary, around),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
    if handler.stream_stream is not None:
        wrap = _wrap_generator if inspect.isasyncgenfunction(handler.stream_stream) else _wrap_call
        return grpc.stream_stream_rpc_method_handler(
            wrap(handler.stream_stream, around),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
    return handler


def _wrap_call(behaviour: Callable[..., Any], around: Around) -> Callable[..., Any]:
    async def call(request: Any, context: Context) -> Any:
        async with around(context):
            return await behaviour(request, context)

    return call


def _wrap_generator(behaviour: Callable[..., Any], around: Around) -> Callable[..., Any]:
    async def stream(requests: Any, context: Context) -> AsyncIterator[Any]:
        # Closed here and now when the caller leaves, not when the collector finds it.
        async with around(context), aclosing(behaviour(requests, context)) as responses:
            async for response in responses:
                yield response

    return stream
