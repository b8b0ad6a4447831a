"""Changes to catalogs and customers, each in a transaction that somebody else began."""

from control_plane.provisioning.applying import (
    CatalogSource,
    apply_catalog,
    count_affected,
    diff_catalog,
)
from control_plane.provisioning.catalogs import (
    CatalogLibrary,
    catalog_editions,
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
from control_plane.provisioning.drafting import get_draft, put_draft
from control_plane.provisioning.drafts import draft_numbers, load_draft, remove_draft
from control_plane.provisioning.history import (
    Rollback,
    list_catalog_versions,
    rollback_catalog,
)
from control_plane.provisioning.loading import customers_changed_since, load_customers
from control_plane.provisioning.migrating import MigrationChoice
from control_plane.provisioning.overrides import WantedOverride, remove_override, set_override
from control_plane.provisioning.pausing import set_subscription_status
from control_plane.provisioning.pinning import follow_plan, pin_subscription
from control_plane.provisioning.planning import ChangeTime, WantedSubscription
from control_plane.provisioning.revisions import current_revision, next_revision
from control_plane.provisioning.subscriptions import (
    cancel_subscription,
    set_subscription,
    set_subscription_end,
)
from control_plane.provisioning.unprovisioned import create_unprovisioned
from control_plane.provisioning.wanted import WantedEntitlement, WantedLimit

__all__ = [
    "CatalogLibrary",
    "CatalogSource",
    "ChangeTime",
    "MigrationChoice",
    "NewCustomer",
    "Rollback",
    "WantedEntitlement",
    "WantedLimit",
    "WantedOverride",
    "WantedSubscription",
    "apply_catalog",
    "cancel_subscription",
    "catalog_editions",
    "catalog_versions",
    "count_affected",
    "count_customers",
    "create_customer",
    "create_resource",
    "create_unprovisioned",
    "current_revision",
    "customers_changed_since",
    "diff_catalog",
    "draft_numbers",
    "follow_plan",
    "get_catalog",
    "get_customer",
    "get_draft",
    "list_catalog_versions",
    "list_catalogs",
    "list_customers",
    "load_customers",
    "load_draft",
    "next_revision",
    "pin_subscription",
    "put_draft",
    "remove_draft",
    "remove_override",
    "rollback_catalog",
    "set_customer_status",
    "set_override",
    "set_subscription",
    "set_subscription_end",
    "set_subscription_status",
]
