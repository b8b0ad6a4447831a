"""What the stream says of shares of rates: acknowledgements and asks up, shares down."""

from __future__ import annotations

from collections.abc import Callable, Collection

from sidecar.core.rate_shares import RateShares, ShareGiven
from weighbridge.rules.rate_share import RateKey, RateShare, whole_share
from weighbridge.v1 import sync_service_pb2 as pb


class RateTalk:
    """The part of a session that shares of rates need; lives through reconnects."""

    def __init__(self, shares: RateShares) -> None:
        self._shares = shares
        # Told of the rates of which something is known now that calls may wait for.
        self.on_given: Callable[[Collection[RateKey]], None] = _ignore

    def begin_stream(self, hello: pb.Hello, boot_ms: int) -> None:
        """Say in a hello which shares are held."""
        for bucket in self._shares.begin_stream(boot_ms):
            hello.rate_shares.add(
                key=_key_to_proto(bucket.key),
                serial=bucket.serial,
                share=_part(bucket.share),
                whole=_part(whole_share(bucket.rate)),
            )

    def next_request(self, revision: int, boot_ms: int) -> pb.SyncRequest | None:
        """Return what to say next; None where there is nothing."""
        request = self._shares.next_request(boot_ms)
        if request is None:
            return None
        message = pb.RateRequest(revision=revision)
        for ack in request.acks:
            message.acks.add(
                key=_key_to_proto(ack.key),
                serial=ack.serial,
                returned=ack.returned,
                ended=ack.has_ended,
            )
        for ask in request.asks:
            message.asks.add(
                key=_key_to_proto(ask.key),
                whole=None if ask.whole is None else _part(ask.whole),
                parts=ask.claim.parts,
                units_min=ask.claim.units_min,
            )
        return pb.SyncRequest(rate_request=message)

    def receive(self, message: pb.RateShares, boot_ms: int) -> None:
        """Take in shares."""
        given = [
            ShareGiven(
                RateKey(
                    share.key.customer, share.key.resource, share.key.feature, share.key.rate_id
                ),
                share.serial,
                RateShare(share.share.parts, share.share.burst),
                share.added,
                share.retry_in_ms,
            )
            for share in message.shares
        ]
        self.on_given(self._shares.receive(given, boot_ms))


def _key_to_proto(key: RateKey) -> pb.RateKey:
    return pb.RateKey(
        customer=key.customer, resource=key.resource, feature=key.feature, rate_id=key.rate_id
    )


def _part(share: RateShare) -> pb.RatePart:
    return pb.RatePart(parts=share.parts, burst=share.burst)


def _ignore(_keys: Collection[RateKey]) -> None:
    return
