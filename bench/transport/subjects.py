"""What is compared: the messages, how long the answers are, and the echo that answers as many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.failure import BenchError
from bench.processes import LOOPBACK, Process, free_ports, wait_listening
from bench.transport import echo
from bench.transport.fresh_keys import keyed_messages
from bench.transport.h2load import Target
from bench.transport.measuring import Subject
from bench.transport.single_calls import SERVICE, check_once, consume_once
from weighbridge.v1 import sidecar_service_pb2 as pb

CUSTOMER: Final = "customer-0001"
FEATURE: Final = "api.calls"
CHECK: Final = "Check"
CONSUME: Final = "Consume"
KEYED: Final = "Consume with a fresh key each"
_LOADED_S_MAX: Final = 30.0
_POLL_S: Final = 0.05

_CHECK_REQUEST: Final = pb.CheckRequest(customer=CUSTOMER, feature=FEATURE, amount=1)
_CONSUME_REQUEST: Final = pb.ConsumeRequest(customer=CUSTOMER, feature=FEATURE, amount=1)


class AnswerSizes(NamedTuple):
    """Bytes of one real answer to each."""

    check: int
    consume: int


async def ask_once(address: str) -> AnswerSizes:
    """Ask the sidecar once each, as soon as it knows the customer that was just made."""
    deadline_s = time.monotonic() + _LOADED_S_MAX
    while True:
        try:
            check = await check_once(address, _CHECK_REQUEST)
        except BenchError:
            if time.monotonic() > deadline_s:
                raise
            await asyncio.sleep(_POLL_S)
        else:
            consume = await consume_once(address, _CONSUME_REQUEST)
            return AnswerSizes(check.ByteSize(), consume.ByteSize())


@contextmanager
def running_echo(directory: Path, sizes: AnswerSizes, core: int) -> Iterator[tuple[str, int]]:
    """Run the echo until the block ends; yields its address and process id."""
    port = free_ports(1)[0]
    process = Process(
        echo.__name__,
        directory / "echo.log",
        arguments=[str(port), *(str(size) for size in dict.fromkeys(sizes))],
        core=core,
    )
    process.start()
    try:
        wait_listening(process, port)
        yield f"{LOOPBACK}:{port}", process.pid
    finally:
        process.stop()


def subjects(sidecar: str, echo_address: str, sizes: AnswerSizes) -> list[Subject]:
    """Return what is compared."""

    def subject(
        name: str, message: bytes, size: int, keyed: pb.ConsumeRequest | None = None
    ) -> Subject:
        return Subject(
            name,
            Target(sidecar, SERVICE, name.partition(" ")[0], message),
            Target(echo_address, echo.SERVICE, echo.method_of(size), message),
            size,
            keyed,
        )

    sample = keyed_messages(_CONSUME_REQUEST, "sample", 1)[0]
    return [
        subject(CHECK, _CHECK_REQUEST.SerializeToString(), sizes.check),
        subject(CONSUME, _CONSUME_REQUEST.SerializeToString(), sizes.consume),
        subject(KEYED, sample, sizes.consume, _CONSUME_REQUEST),
    ]
