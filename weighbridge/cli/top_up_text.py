"""Top-up orders as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from weighbridge.cli.credit_text import credits_cell
from weighbridge.cli.instants import format_instant
from weighbridge.cli.json_shapes import enum_label
from weighbridge.cli.output import listing_or
from weighbridge.v1 import credit_service_pb2 as pb

_COLUMNS: Final = (
    "order",
    "credit",
    "credits",
    "state",
    "requested",
    "ended",
    "payment",
    "grant",
    "reason",
)


def orders_view(orders: Sequence[pb.TopUpOrder]) -> RenderableType:
    """Return orders as a table."""
    return listing_or("no top-up orders", _COLUMNS, [_row(order) for order in orders])


def _row(order: pb.TopUpOrder) -> tuple[str | Text, ...]:
    ended = format_instant(order.ended_at_unix_ms) if order.HasField("ended_at_unix_ms") else ""
    return (
        order.id,
        order.credit_type,
        credits_cell(order.amount_micro),
        (enum_label(pb.TopUpState.DESCRIPTOR, order.state) or "").lower(),
        format_instant(order.requested_at_unix_ms),
        ended,
        order.payment_id,
        str(order.grant or ""),
        order.reason,
    )
