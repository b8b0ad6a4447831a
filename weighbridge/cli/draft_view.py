"""What drafts would have answered, as people read it."""

from __future__ import annotations

from rich.console import Group
from rich.text import Text

from weighbridge.cli.instants import format_instant
from weighbridge.cli.json_shapes import enum_label
from weighbridge.cli.output import listing, listing_or, number, plain, titled
from weighbridge.v1 import types_pb2
from weighbridge.v1.sidecar_service_pb2 import ShadowReport


def shadow_view(report: ShadowReport) -> Group:
    """Return how a draft's answers compare, and whom they would have touched most."""
    since = format_instant(report.since_unix_ms)
    title = f"{report.catalog}: draft {report.number}, counted here since {since}"
    outcomes = listing(
        ("feature", "live", "draft", "calls"),
        [
            (each.feature, _outcome(each.live), _outcome(each.draft), number(each.calls))
            for each in report.outcomes
        ],
    )
    customers = listing_or(
        "no customer would have been answered otherwise",
        ("customer", "newly refused", "newly allowed"),
        [
            (each.customer, number(each.newly_refused), number(each.newly_allowed))
            for each in report.customers
        ],
    )
    parts = [titled(title, outcomes), customers]
    if report.calls_of_other_customers:
        count = report.calls_of_other_customers
        parts.append(Text(plain(f"{count:,} differing calls of customers past the first 10,000")))
    return Group(*parts)


def _outcome(reason: types_pb2.Reason.ValueType) -> Text:
    if reason == types_pb2.REASON_UNSPECIFIED:
        return Text("allowed", style="green")
    return Text(enum_label(types_pb2.Reason.DESCRIPTOR, reason) or "", style="red")
