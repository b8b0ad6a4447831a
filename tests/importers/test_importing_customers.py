"""Customers are imported all together, or not at all; a dry run leaves nothing behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from imported import Imported

from control_plane.importers.customers import WantedCustomer
from control_plane.provisioning import WantedEntitlement, WantedLimit
from weighbridge.rules.catalog import SubscribedAddOn
from weighbridge.rules.errors import AlreadyExistsError, NotFoundError

ACME = WantedCustomer(
    2,
    "acme",
    name="Acme",
    plan="free",
    external_ids=(("crm", "17"), ("stripe", "cus_1")),
    overrides=(WantedEntitlement("calls", limits=(WantedLimit("month", 5_000),)),),
)


def run(imported: Imported, *rows: WantedCustomer, is_dry_run: bool = False) -> list[str]:
    changed = asyncio.run(imported.importing.import_customers(rows, is_dry_run=is_dry_run))
    return [change for each in changed for change in each.changes]


def test_rows_are_applied_once(imported: Imported) -> None:
    wanted = run(imported, ACME, is_dry_run=True)
    assert (imported.changed, wanted[0]) == ([], "made")
    assert run(imported, ACME) == wanted
    assert imported.changed == ["acme"]
    assert run(imported, ACME) == []
    more = replace(ACME, plan="pro", add_ons=(SubscribedAddOn("calls_50", 2),), seats=3)
    assert run(imported, more, is_dry_run=True) == run(imported, more)
    assert run(imported, more) == []
    assert imported.changed == ["acme", "acme"]


def test_one_wrong_row_undoes_all(imported: Imported) -> None:
    with pytest.raises(AlreadyExistsError, match=r"^line 3: external_id '17'"):
        run(imported, ACME, replace(ACME, line=3, customer="beta"))
    with pytest.raises(NotFoundError, match=r"^line 9: plan 'gold'"):
        run(imported, ACME, WantedCustomer(9, "beta", plan="gold"))
    assert run(imported, ACME)[0] == "made"
