"""One call with a real client: what the load is to be answered, and how long that answer is."""

from __future__ import annotations

from typing import Final

from bench.failure import BenchError
from bench.transport.fresh_keys import own_channel
from weighbridge.v1 import sidecar_service_pb2 as pb

SERVICE: Final = "weighbridge.v1.SidecarService"
_CALL_S_MAX: Final = 10.0


async def consume_once(address: str, request: pb.ConsumeRequest) -> pb.ConsumeResponse:
    """Ask once, and see that the answer is what the load is to get. Raises BenchError if not."""
    async with own_channel(address) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/Consume",
            request_serializer=pb.ConsumeRequest.SerializeToString,
            response_deserializer=pb.ConsumeResponse.FromString,
        )
        answer: pb.ConsumeResponse = await call(request, timeout=_CALL_S_MAX, wait_for_ready=True)
    if not answer.decision.allowed or answer.replayed or not answer.HasField("receipt"):
        raise BenchError(f"Consume was not admitted: {answer}")
    return answer


async def check_once(address: str, request: pb.CheckRequest) -> pb.CheckResponse:
    """Ask once, and see that the answer is what the load is to get. Raises BenchError if not."""
    async with own_channel(address) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/Check",
            request_serializer=pb.CheckRequest.SerializeToString,
            response_deserializer=pb.CheckResponse.FromString,
        )
        answer: pb.CheckResponse = await call(request, timeout=_CALL_S_MAX, wait_for_ready=True)
    if not answer.decision.allowed or not answer.decision.limit_id:
        raise BenchError(f"Check was not allowed by a limit: {answer}")
    return answer
