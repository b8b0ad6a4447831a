"""Customers and their resources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, insert, select, update

from control_plane.provisioning.catalogs import CatalogLibrary
from control_plane.provisioning.changing import load_record, require_customer, take_version
from control_plane.provisioning.checks import (
    NAME_LENGTH_MAX,
    RESOURCES_MAX,
    named_few,
    require_distinct,
    require_few,
)
from control_plane.provisioning.loading import CustomerRecord, load_records
from control_plane.provisioning.parents import (
    insert_under,
    require_parent,
    require_same_catalog,
)
from control_plane.provisioning.planning import WantedSubscription
from control_plane.provisioning.revisions import next_revision
from control_plane.provisioning.subscriptions import insert_first, require_offered
from control_plane.storage.tables import catalog, customer, resource
from weighbridge.rules.catalog import CustomerStatus
from weighbridge.rules.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from weighbridge.rules.units import require_id, require_optional_id, require_text

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class NewCustomer:
    """A customer to make, under a `parent` or none.

    No `catalog`: the parent's, else the only one there is; no `plan`: none yet.
    """

    id: str
    name: str = ""
    catalog: str = ""
    resources: tuple[str, ...] = ()
    plan: str = ""
    parent: str = ""


@dataclass(frozen=True, slots=True)
class CustomerPage:
    """Customers by id, and where the next page begins ("" after the last)."""

    records: tuple[CustomerRecord, ...]
    next_page_token: str


def create_customer(
    connection: Connection, library: CatalogLibrary, new: NewCustomer, now_ms: int
) -> CustomerRecord:
    """Make a customer, on a plan where one is named."""
    require_id("id", new.id)
    require_text("name", new.name, NAME_LENGTH_MAX)
    require_few("resources", new.resources, RESOURCES_MAX)
    for index, name in enumerate(new.resources):
        require_id(f"resources[{index}]", name)
    require_distinct("resources", new.resources)
    require_optional_id("plan", new.plan)
    parent = require_parent(connection, new.parent)
    catalog_id = _catalog_of(connection, new.catalog or (parent.catalog if parent else ""))
    if parent is not None:
        require_same_catalog(parent, catalog_id)
    wanted = WantedSubscription(customer=new.id, plan=new.plan)
    catalog_now = library.load(connection, catalog_id)
    if new.plan:
        require_offered(catalog_now, wanted)
    if connection.execute(select(customer.c.id).where(customer.c.id == new.id)).first():
        raise AlreadyExistsError(f"customer {new.id!r} already exists")
    version = next_revision(connection, now_ms)
    values = {
        "id": new.id,
        "name": new.name,
        "catalog_id": catalog_id,
        "status": CustomerStatus.ACTIVE.value,
        "version": version,
        "created_at_ms": now_ms,
        "parent_id": new.parent or None,
    }
    connection.execute(insert(customer).values(values))
    if parent is not None:
        insert_under(connection, new.id, parent)
    if new.resources:
        rows = [{"customer_id": new.id, "id": name} for name in new.resources]
        connection.execute(insert(resource), rows)
    if new.plan:
        insert_first(connection, catalog_now, wanted, version, now_ms)
    return load_record(connection, new.id)


def get_customer(connection: Connection, customer_id: str) -> CustomerRecord:
    """Return the customer. Raises NotFoundError."""
    return load_record(connection, require_id("id", customer_id))


def list_customers(
    connection: Connection,
    page_size: int = 0,
    page_token: str = "",
    catalog_id: str = "",
    parent_id: str = "",
) -> CustomerPage:
    """Return a page of customers by id. A page of size 0 has PAGE_SIZE_DEFAULT."""
    if not 0 <= page_size <= PAGE_SIZE_MAX:
        raise InvalidArgumentError("page_size", f"{page_size} is not 0 to {PAGE_SIZE_MAX}")
    require_optional_id("page_token", page_token)
    require_optional_id("catalog", catalog_id)
    size = page_size or PAGE_SIZE_DEFAULT
    query = select(customer.c.id).where(customer.c.id > page_token).order_by(customer.c.id)
    if catalog_id:
        query = query.where(customer.c.catalog_id == catalog_id)
    if require_optional_id("parent", parent_id):
        require_customer(connection, "parent", parent_id)
        query = query.where(customer.c.parent_id == parent_id)
    ids = connection.scalars(query.limit(size + 1)).all()
    page = ids[:size]
    return CustomerPage(tuple(load_records(connection, page)), page[-1] if len(ids) > size else "")


def count_customers(connection: Connection) -> int:
    """Return how many customers there are, whatever their status."""
    return connection.execute(select(func.count()).select_from(customer)).scalar_one()


def set_customer_status(
    connection: Connection, customer_id: str, status: CustomerStatus, now_ms: int
) -> CustomerRecord:
    """Archive, revoke or revive a customer. A revoked one can only be revived."""
    row = require_customer(connection, "id", customer_id)
    before = CustomerStatus(row.status)
    if before is status:
        return load_record(connection, customer_id)
    if before is CustomerStatus.REVOKED and status is not CustomerStatus.ACTIVE:
        raise FailedPreconditionError(
            f"customer {customer_id!r} is revoked; set it active before it is {status.value}"
        )
    connection.execute(
        update(customer).where(customer.c.id == customer_id).values(status=status.value)
    )
    take_version(connection, customer_id, now_ms)
    return load_record(connection, customer_id)


def customer_exists(connection: Connection, customer_id: str) -> bool:
    """Whether there is such a customer, whatever its status."""
    require_id("customer", customer_id)
    query = select(customer.c.id).where(customer.c.id == customer_id)
    return connection.execute(query).first() is not None


def set_customer_name(
    connection: Connection, customer_id: str, name: str, now_ms: int
) -> CustomerRecord:
    """Say what people call a customer."""
    require_customer(connection, "customer", customer_id)
    require_text("name", name, NAME_LENGTH_MAX)
    connection.execute(update(customer).where(customer.c.id == customer_id).values(name=name))
    take_version(connection, customer_id, now_ms)
    return load_record(connection, customer_id)


def create_resource(
    connection: Connection, customer_id: str, resource_id: str, now_ms: int
) -> CustomerRecord:
    """Add a resource to a customer."""
    require_customer(connection, "customer", customer_id)
    require_id("resource", resource_id)
    of_customer = resource.c.customer_id == customer_id
    query = select(resource.c.id).where(of_customer, resource.c.id == resource_id)
    if connection.execute(query).first() is not None:
        raise AlreadyExistsError(
            f"resource {resource_id!r} of customer {customer_id!r} already exists"
        )
    count = connection.scalar(select(func.count()).select_from(resource).where(of_customer))
    if count is not None and count >= RESOURCES_MAX:
        raise FailedPreconditionError(
            f"customer {customer_id!r} has {count} resources; at most {RESOURCES_MAX}"
        )
    connection.execute(insert(resource).values(customer_id=customer_id, id=resource_id))
    take_version(connection, customer_id, now_ms)
    return load_record(connection, customer_id)


def _catalog_of(connection: Connection, catalog_id: str) -> str:
    """Return the catalog named, else the only one there is."""
    if require_optional_id("catalog", catalog_id):
        if connection.execute(select(catalog.c.id).where(catalog.c.id == catalog_id)).first():
            return catalog_id
        raise NotFoundError(f"catalog {catalog_id!r} does not exist")
    ids: Sequence[str] = connection.scalars(select(catalog.c.id).order_by(catalog.c.id)).all()
    if not ids:
        raise FailedPreconditionError("there is no catalog yet; apply one first")
    if len(ids) > 1:
        raise InvalidArgumentError(
            "catalog", f"is empty, and there are several; name one of {named_few(ids)}"
        )
    return ids[0]
