"""A bare grpc.aio server: bytes in, a fixed number of bytes out. What grpcio itself can do here.

`python -m bench.transport.echo PORT SIZE...`: method /bench.Echo/Bytes<SIZE> answers SIZE bytes.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import grpc

from bench.processes import LOOPBACK

SERVICE = "bench.Echo"
# Those of the sidecar's server, so that both are the same kind of server.
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_concurrent_streams", 1_000),
)


def method_of(response_bytes: int) -> str:
    """Return the method that answers so many bytes."""
    return f"Bytes{response_bytes}"


async def serve(port: int, sizes: list[int]) -> None:
    """Answer until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    server = grpc.aio.server(options=_OPTIONS)
    handlers = {method_of(size): _method_answering(bytes(size)) for size in sizes}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"{LOOPBACK}:{port}")
    await server.start()
    await stopping.wait()
    await server.stop(None)


def _method_answering(response: bytes) -> grpc.RpcMethodHandler[Any, Any]:
    async def answer(_request: bytes, _context: Any) -> bytes:
        return response

    return grpc.unary_unary_rpc_method_handler(answer)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), [int(size) for size in sys.argv[2:]]))
