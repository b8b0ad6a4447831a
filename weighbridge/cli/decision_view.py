"""A decision and a receipt as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.table import Table
from rich.text import Text

from weighbridge.cli.instants import format_duration, format_instant
from weighbridge.cli.json_shapes import enum_label
from weighbridge.cli.output import facts
from weighbridge.rules.rating.money import Currency
from weighbridge.rules.spend import money_of
from weighbridge.v1 import sidecar_service_pb2, types_pb2

_DECIDED_BY: Final = {
    types_pb2.DECIDED_BY_LEASE: "units leased to this sidecar",
    types_pb2.DECIDED_BY_CACHE: "the last snapshot",
    types_pb2.DECIDED_BY_CONTROL_PLANE: "the control plane",
    types_pb2.DECIDED_BY_OUTAGE_POLICY: "the feature's outage policy",
}


def verdict(decision: types_pb2.Decision) -> Text:
    """Return "allowed", or "refused" with the reason; of an observed feature, both."""
    if decision.observed_reason:
        would_be = enum_label(types_pb2.Reason.DESCRIPTOR, decision.observed_reason)
        return Text(f"allowed, only observed: it would be refused, {would_be}", style="bold yellow")
    if decision.allowed:
        return Text("allowed", style="bold green")
    reason = enum_label(types_pb2.Reason.DESCRIPTOR, decision.reason)
    return Text(f"refused: {reason}", style="bold red")


def decision_table(decision: types_pb2.Decision) -> Table:
    """Return a decision: the verdict, the limit that decided, and what to do about it."""
    return facts(
        [
            ("decision", verdict(decision)),
            ("feature", decision.feature),
            ("limited by", decision.limited_by),
            *_limit_rows(decision),
            *_money_rows(decision),
            ("values", ", ".join(decision.values)),
            *_wait_rows(decision),
            ("upgrade", hints_text(decision.upgrade_hints)),
            *_ground_rows(decision),
        ]
    )


def _limit_rows(decision: types_pb2.Decision) -> Iterable[tuple[str, str | Text]]:
    if decision.HasField("spend"):
        return
    if decision.HasField("limit"):
        named = f" ({decision.limit_id})" if decision.limit_id else ""
        yield "limit", Text(f"{decision.limit:,}{named}")
    elif decision.limit_id:
        yield "limit", f"unlimited ({decision.limit_id})"
    for name in ("used", "remaining", "allowed_amount"):
        if decision.HasField(name):
            yield name.replace("_", " "), f"{getattr(decision, name):,}"
    if decision.reserved:
        yield "reserved", f"{decision.reserved:,}"
    if decision.overage_amount:
        yield "included", f"{decision.included_amount:,}"
        yield "overage", f"{decision.overage_amount:,}"


def _money_rows(decision: types_pb2.Decision) -> Iterable[tuple[str, str | Text]]:
    if not decision.HasField("spend"):
        return
    spend = decision.spend
    for name in ("limit", "used", "remaining"):
        text = money_text(getattr(spend, f"{name}_micros"), spend.exponent, spend.currency)
        yield name, f"{text} ({spend.feature}, {decision.limit_id})" if name == "limit" else text
    if decision.HasField("allowed_amount"):
        yield "allowed amount", f"{decision.allowed_amount:,}"


def money_text(micros: int, exponent: int, currency: str) -> str:
    """Return an amount of micros as people write it."""
    amount = money_of(micros, Currency(currency, exponent))
    # At least the places that prices have.
    places = max(exponent, -int(amount.normalize().as_tuple().exponent))
    return f"{amount:,.{places}f} {currency}"


def _wait_rows(decision: types_pb2.Decision) -> Iterable[tuple[str, str | Text]]:
    if decision.HasField("window_start_unix_ms"):
        end = (
            format_instant(decision.window_end_unix_ms)
            if decision.HasField("window_end_unix_ms")
            else "never ends"
        )
        start = format_instant(decision.window_start_unix_ms)
        yield "window", f"{start} to {end}" if end != "never ends" else "the whole lifetime"
    if decision.HasField("resets_in_ms"):
        yield "resets in", format_duration(decision.resets_in_ms)
    if decision.HasField("retry_after_ms"):
        yield "retry after", format_duration(decision.retry_after_ms)


def _ground_rows(decision: types_pb2.Decision) -> Iterable[tuple[str, str | Text]]:
    if decision.decided_by:
        yield "decided by", _DECIDED_BY.get(decision.decided_by, str(decision.decided_by))
    if decision.HasField("snapshot_age_ms"):
        yield "snapshot", f"{format_duration(decision.snapshot_age_ms)} old"
    if decision.HasField("max_overshoot"):
        yield "overshoot", Text(f"at most {decision.max_overshoot:,}")


def hints_text(hints: Iterable[types_pb2.UpgradeHint]) -> str:
    """Return the plans and add-ons that would allow the call, with message and address."""
    return "; ".join(_hint_text(hint) for hint in hints)


def _hint_text(hint: types_pb2.UpgradeHint) -> str:
    target = f"add-on {hint.add_on}" if hint.WhichOneof("target") == "add_on" else hint.plan
    parts = [f"{hint.name} ({target})" if hint.name else target]
    parts += [part for part in (hint.offer.message, hint.offer.url) if part]
    return " - ".join(parts)


def reservation_table(hold: sidecar_service_pb2.Reservation, *, replayed: bool = False) -> Table:
    """Return a hold as it is."""
    held = Text(f"{hold.amount:,}")
    if replayed:
        held.append(" (an earlier answer to this id; nothing was held again)")
    return facts(
        [
            ("reservation", hold.id),
            ("held", held),
            ("until", format_instant(hold.expires_at_unix_ms)),
        ]
    )


def receipt_table(receipt: sidecar_service_pb2.Receipt, *, replayed: bool) -> Table:
    """Return where usage was recorded."""
    recorded = Text(f"{receipt.amount:,}")
    if replayed:
        recorded.append(" (an earlier answer to this key; nothing was recorded again)")
    return facts(
        [
            ("recorded", recorded),
            ("overage", f"{receipt.overage_amount:,}" if receipt.overage_amount else ""),
            ("record", f"{receipt.epoch}:{receipt.record_number}"),
        ]
    )
