"""Changes to catalogs and customers, each in a transaction that somebody else began."""

from control_plane.provisioning.applying import CatalogSource, apply_catalog, diff_catalog
from control_plane.provisioning.catalogs import (
    CatalogLibrary,
    catalog_versions,
    get_catalog,
    list_catalogs,
)
from control_plane.provisioning.customers import (
    NewCustomer,
    count_customers,
    create_customer,
    create_resource,
    get_customer,
    list_customers,
    set_customer_status,
)
from control_plane.provisioning.loading import customers_changed_since, load_customers
from control_plane.provisioning.overrides import WantedOverride, remove_override, set_override
from control_plane.provisioning.revisions import current_revision, next_revision
from control_plane.provisioning.subscriptions import (
    WantedSubscription,
    cancel_subscription,
    set_subscription,
)
from control_plane.provisioning.wanted import WantedEntitlement, WantedLimit

__all__ = [
    "CatalogLibrary",
    "CatalogSource",
    "NewCustomer",
    "WantedEntitlement",
    "WantedLimit",
    "WantedOverride",
    "WantedSubscription",
    "apply_catalog",
    "cancel_subscription",
    "catalog_versions",
    "count_customers",
    "create_customer",
    "create_resource",
    "current_revision",
    "customers_changed_since",
    "diff_catalog",
    "get_catalog",
    "get_customer",
    "list_catalogs",
    "list_customers",
    "load_customers",
    "next_revision",
    "remove_override",
    "set_customer_status",
    "set_override",
    "set_subscription",
]
