"""A plan change of the tour: applied while the application asks, and the answer changes."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from tour_admin import ControlPlane
from tour_processes import HERE, running_application
from tour_steps import CHANGE, CHANGED, STEPS_AROUND_CHANGE
from tour_table import Row, rows_of

from weighbridge.v1.admin_service_pb2 import DiffCatalogResponse

PATH_PARTS_SHOWN: Final = 3


class Changed(NamedTuple):
    """What the application was answered before and after, and when it used something last."""

    rows: list[Row]
    used_until_s: float


def change_plan(control_plane: ControlPlane, sidecar: str) -> Changed:
    """Apply the change under a running application."""
    path = HERE / "catalogs" / f"{CHANGE.catalog}.yaml"
    document = path.read_text(encoding="utf-8").replace(CHANGE.before, CHANGE.after, 1)
    with running_application(sidecar, "changed") as outcomes:
        first = next(outcomes, {})
        reviewed = control_plane.diff(document)
        began_s = time.monotonic()
        control_plane.apply(document, reviewed)
        last = next(outcomes, {})
        used_until_s = time.monotonic()
    before, after = rows_of([CHANGED], STEPS_AROUND_CHANGE, [first, last])
    title = f"{before.title}, the plan changed while the application asks"
    if last:
        took_ms = round((last["changed_s"] - began_s) * 1000)
        after = after._replace(got=f"{after.got} {took_ms} ms later")
    rows = [
        before._replace(title=title, offer=""),
        _apply_row(title, reviewed),
        after._replace(title=title, expected=f"{after.expected}, no restart"),
    ]
    return Changed(rows, used_until_s)


def _apply_row(title: str, reviewed: DiffCatalogResponse) -> Row:
    """Say what is applied and whom it affects."""
    [change] = reviewed.changes
    changed = ".".join(change.path.split(".")[-PATH_PARTS_SHOWN:])
    affected = ", ".join(reviewed.customers_affected_sample)
    return Row(
        title=title,
        what=f"catalog apply: {changed} {change.before} -> {change.after}",
        expected=f"affects {CHANGED.customer}",
        got=f"affects {affected}",
        is_ok=affected == CHANGED.customer and reviewed.customers_affected == 1,
    )
