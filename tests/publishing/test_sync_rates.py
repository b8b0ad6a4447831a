"""Shares of rates on the stream: asked for, shrunk, acknowledged, given back and stated again."""

from __future__ import annotations

from typing import Any

import pytest
from sync_world import StreamEndedError, SyncClient, SyncWorld, hello

from weighbridge.rules.rate_share import UNIT_LEVEL
from weighbridge.v1 import sync_service_pb2 as pb

KEY = pb.RateKey(customer="acme", feature="jobs", rate_id="per_hour")
WHOLE = pb.RatePart(parts=1_000, burst=10)


def ask(**fields: Any) -> pb.RateRequest:
    return pb.RateRequest(asks=[pb.RateAsk(key=KEY, whole=WHOLE, units_min=1, **fields)])


def ack(share: pb.RateShare, returned: int = 0, *, ended: bool = False) -> pb.RateRequest:
    known = pb.RateAck(key=KEY, serial=share.serial, returned=returned * UNIT_LEVEL, ended=ended)
    return pb.RateRequest(acks=[known])


async def told(client: SyncClient) -> pb.RateShare:
    first: pb.RateShare = (await client.until("rate_shares")).shares[0]
    return first


async def test_a_share_shrinks_before_another_grows(world: SyncWorld) -> None:
    one = await world.welcomed(hello(sidecar="one"))
    await one.send(rate_request=ask())
    whole = await told(one)
    assert (whole.share, whole.added) == (WHOLE, 10 * UNIT_LEVEL)
    other = await world.welcomed(hello(sidecar="two"))
    await other.send(rate_request=ask())
    half = await told(one)
    assert (half.share, half.added) == (pb.RatePart(parts=500, burst=5), 0)
    await one.send(rate_request=ack(half, 5))
    given = await told(other)
    assert given.share == half.share
    assert given.added == 5 * UNIT_LEVEL
    # What is given back is the other's.
    await one.send(rate_request=ack(half, 2, ended=True))
    all_of_it = await told(other)
    assert (all_of_it.share, all_of_it.added) == (WHOLE, 2 * UNIT_LEVEL)


async def test_who_does_not_answer_keeps_its_share_and_the_other_is_told_when_to_ask(
    world: SyncWorld,
) -> None:
    one = await world.welcomed(hello(sidecar="one"))
    await one.send(rate_request=ask())
    held = await told(one)
    other = await world.welcomed(hello(sidecar="two"))
    await other.send(rate_request=ask())
    nothing = await told(other)
    assert (nothing.share, nothing.retry_in_ms) == (pb.RatePart(), 1_000)
    # On a new stream it says what it has, and is told again.
    again = hello(sidecar="one")
    again.rate_shares.add(key=KEY, serial=held.serial, share=held.share, whole=WHOLE)
    back = await world.welcomed(again)
    stated = await told(back)
    assert stated.serial > held.serial
    assert (stated.share, stated.added) == (WHOLE, 0)


async def test_what_a_hello_does_not_name_has_ended(world: SyncWorld) -> None:
    one = await world.welcomed(hello(sidecar="one"))
    await one.send(rate_request=ask())
    await told(one)
    await world.welcomed(hello(sidecar="one"))
    other = await world.welcomed(hello(sidecar="two"))
    await other.send(rate_request=ask())
    share = await told(other)
    # The units that it had are lost.
    assert share.share == WHOLE
    assert share.added < UNIT_LEVEL


async def test_a_new_control_plane_gives_nothing_until_old_shares_have_ended(
    world: SyncWorld,
) -> None:
    world.rates.fence()
    one = await world.welcomed(hello(sidecar="one"))
    await one.send(rate_request=ask())
    nothing = await told(one)
    assert nothing.share == pb.RatePart()
    assert nothing.retry_in_ms > 30_000
    held = hello(sidecar="two")
    held.rate_shares.add(key=KEY, serial=9, share=pb.RatePart(parts=1, burst=2), whole=WHOLE)
    other = await world.welcomed(held)
    assert (await told(other)).share == pb.RatePart(parts=1, burst=2)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.RateRequest(asks=[pb.RateAsk(whole=WHOLE)]), "rate_request.asks.key.customer"),
        (pb.RateRequest(asks=[pb.RateAsk(key=KEY, whole=pb.RatePart())]), "asks.whole"),
        (ask(parts=-1), "rate_request.asks.parts"),
        (pb.RateRequest(acks=[pb.RateAck(key=KEY, returned=-1)]), "rate_request.acks.returned"),
        (pb.RateRequest(revision=-1), "rate_request.revision"),
    ],
)
async def test_a_broken_request_ends_the_stream(
    world: SyncWorld, request_: pb.RateRequest, field: str
) -> None:
    client = await world.welcomed(hello(sidecar="one"))
    await client.send(rate_request=request_)
    with pytest.raises(StreamEndedError, match=field):
        await client.until("rate_shares")
