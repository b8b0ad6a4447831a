"""Drafts: put, shown and removed, over a real connection, on each engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from admin_server import AdminServer
from provisioned import CATALOG, NOW_MS

from weighbridge.v1 import admin_service_pb2 as pb

if TYPE_CHECKING:
    # Only the type stubs tell the two kinds of stub apart.
    from weighbridge.v1.admin_service_pb2_grpc import AdminServiceAsyncStub

LOWER = CATALOG.replace("limit: 1000", "limit: 500")


def document(text: str) -> pb.PutDraftRequest:
    return pb.PutDraftRequest(document=text, source_name="draft.yaml")


async def refused(call: grpc.aio.UnaryUnaryCall) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code(), raised.value.details() or ""


async def test_a_draft_is_put_shown_replaced_and_removed(
    server: AdminServer, admin: AdminServiceAsyncStub, acme: pb.Customer
) -> None:
    put = await admin.PutDraft(document(LOWER))
    assert (put.draft.catalog, put.draft.created_at_unix_ms) == ("api", NOW_MS)
    (change,) = put.diff.changes
    assert (change.before, change.after, change.customers_affected) == ("1000", "500", 1)
    assert put.diff.customers_affected == 1
    shown = await admin.GetDraft(pb.GetDraftRequest(catalog="api"))
    assert shown.draft == put.draft
    assert shown.draft.document == LOWER
    assert shown.diff == put.diff
    again = await admin.PutDraft(document(LOWER.replace("500", "400")))
    assert again.draft.number > put.draft.number
    removed = await admin.RemoveDraft(pb.RemoveDraftRequest(catalog="api"))
    assert removed.draft == again.draft
    assert server.notices.catalogs == ["api"] * 4
    current = await admin.GetCatalog(pb.GetCatalogRequest(catalog="api"))
    assert current.summary.version == 1, "nothing was applied"


async def test_a_draft_may_lack_what_customers_are_on(
    admin: AdminServiceAsyncStub, acme: pb.Customer
) -> None:
    kept = CATALOG.replace("    upgrades_to: [pro]\n", "")
    without_pro = kept[: kept.index("  pro:")]
    assert (await admin.PutDraft(document(without_pro))).diff.customers_affected == 1
    code, _ = await refused(admin.ApplyCatalog(pb.ApplyCatalogRequest(document=without_pro)))
    assert code is grpc.StatusCode.FAILED_PRECONDITION


async def test_applying_it_removes_it_and_applying_another_does_not(
    admin: AdminServiceAsyncStub, acme: pb.Customer
) -> None:
    await admin.PutDraft(document(LOWER))
    await admin.ApplyCatalog(pb.ApplyCatalogRequest(document=CATALOG.replace("100,", "90,")))
    shown = await admin.GetDraft(pb.GetDraftRequest(catalog="api"))
    assert (shown.diff.current_version, len(shown.diff.changes)) == (2, 2)
    await admin.ApplyCatalog(pb.ApplyCatalogRequest(document=LOWER))
    code, detail = await refused(admin.GetDraft(pb.GetDraftRequest(catalog="api")))
    assert (code, detail) == (grpc.StatusCode.NOT_FOUND, "catalog 'api' has no draft")
    # One that says what is live is removed by applying that too.
    await admin.PutDraft(document(LOWER))
    await admin.ApplyCatalog(pb.ApplyCatalogRequest(document="# As it is.\n" + LOWER))
    code, _ = await refused(admin.GetDraft(pb.GetDraftRequest(catalog="api")))
    assert code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("text", "code", "detail"),
    [
        ("catalog: api\n", grpc.StatusCode.INVALID_ARGUMENT, "features"),
        (
            CATALOG.replace("catalog: api", "catalog: new"),
            grpc.StatusCode.NOT_FOUND,
            "catalog 'new' does not exist; a draft stands beside a live catalog",
        ),
    ],
)
async def test_what_is_no_draft(
    admin: AdminServiceAsyncStub,
    acme: pb.Customer,
    text: str,
    code: grpc.StatusCode,
    detail: str,
) -> None:
    was = await refused(admin.PutDraft(document(text)))
    assert was[0] is code
    assert detail in was[1]


async def test_there_may_be_no_draft_and_no_catalog(
    admin: AdminServiceAsyncStub, acme: pb.Customer
) -> None:
    for catalog, said in (("api", "has no draft"), ("none", "does not exist"), ("", "catalog")):
        for call in (
            admin.GetDraft(pb.GetDraftRequest(catalog=catalog)),
            admin.RemoveDraft(pb.RemoveDraftRequest(catalog=catalog)),
        ):
            _, detail = await refused(call)
            assert said in detail
