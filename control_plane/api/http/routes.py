"""Which path is which method of the services: one table, and nothing decided twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple


class Route(NamedTuple):
    """A path with the fields of the request that it names; what is left comes in the body.

    `body` names the field that the body is, "" where it is the request itself. What GET and DELETE
    ask for beside the path comes in the query.
    """

    verb: str
    path: str
    service: str
    method: str
    summary: str
    body: str = ""


ADMIN: Final = "AdminService"
CREDITS: Final = "CreditService"
BILLING: Final = "BillingService"
INTEGRATIONS: Final = "IntegrationService"

ROUTES: Final[Sequence[Route]] = (
    Route("POST", "/v1/customers", ADMIN, "CreateCustomer", "Create a customer"),
    Route("GET", "/v1/customers", ADMIN, "ListCustomers", "List customers"),
    Route("GET", "/v1/customers/{id}", ADMIN, "GetCustomer", "Get a customer"),
    Route(
        "PUT", "/v1/customers/{id}/status", ADMIN, "SetCustomerStatus", "Archive, revoke, activate"
    ),
    Route("POST", "/v1/customers/{customer}/resources", ADMIN, "CreateResource", "Add a resource"),
    Route(
        "PUT",
        "/v1/customers/{customer}/subscription",
        ADMIN,
        "SetSubscription",
        "Put a customer or resource on a plan",
    ),
    Route(
        "DELETE",
        "/v1/customers/{customer}/subscription",
        ADMIN,
        "CancelSubscription",
        "Cancel a subscription",
    ),
    Route(
        "PUT",
        "/v1/customers/{customer}/subscription/status",
        ADMIN,
        "SetSubscriptionStatus",
        "Pause, resume, or mark past due",
    ),
    Route("PUT", "/v1/customers/{customer}/overrides", ADMIN, "SetOverride", "Set an override"),
    Route(
        "DELETE",
        "/v1/customers/{customer}/overrides",
        ADMIN,
        "RemoveOverride",
        "Remove an override",
    ),
    Route("POST", "/v1/customers/{customer}/grants", CREDITS, "GrantCredits", "Grant credits"),
    Route("GET", "/v1/customers/{customer}/grants", CREDITS, "ListGrants", "List credit grants"),
    Route("POST", "/v1/customers/{customer}/refunds", CREDITS, "RefundCredits", "Refund credits"),
    Route("GET", "/v1/customers/{customer}/balances", CREDITS, "GetBalances", "Get balances"),
    Route("GET", "/v1/customers/{customer}/ledger", CREDITS, "ListLedger", "List the ledger"),
    Route("GET", "/v1/customers/{customer}/top-ups", CREDITS, "ListTopUps", "List top-up orders"),
    Route("POST", "/v1/top-ups/{order}/confirm", CREDITS, "ConfirmTopUp", "Say that it is paid"),
    Route("POST", "/v1/top-ups/{order}/fail", CREDITS, "FailTopUp", "Say that it is not paid"),
    Route("GET", "/v1/customers/{customer}/statement", BILLING, "GetStatement", "Get a statement"),
    Route("GET", "/v1/usage", ADMIN, "QueryUsage", "Sum usage"),
    Route("GET", "/v1/catalogs", ADMIN, "ListCatalogs", "List catalogs"),
    Route("POST", "/v1/catalogs", ADMIN, "ApplyCatalog", "Apply a catalog document"),
    Route(
        "PUT",
        "/v1/external-ids",
        INTEGRATIONS,
        "SetExternalId",
        "Say what a customer is called elsewhere",
        body="external_id",
    ),
    Route("GET", "/v1/external-ids", INTEGRATIONS, "ListExternalIds", "List names elsewhere"),
)
