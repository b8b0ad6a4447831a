"""What every change to a customer begins and ends with."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select, update

from control_plane.provisioning.loading import CustomerRecord, load_records
from control_plane.provisioning.revisions import next_revision
from control_plane.storage.tables import customer, resource
from weighbridge.rules.errors import NotFoundError
from weighbridge.rules.units import require_id, require_optional_id


def require_customer(connection: Connection, field: str, customer_id: str) -> Row[Any]:
    """Return the customer's row. Raises NotFoundError."""
    require_id(field, customer_id)
    query = select(customer).where(customer.c.id == customer_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError(f"customer {customer_id!r} does not exist")
    return row


def require_resource(connection: Connection, customer_id: str, resource_id: str) -> None:
    """Raise NotFoundError unless the customer has the resource; "" is the customer itself."""
    if not require_optional_id("resource", resource_id):
        return
    query = select(resource.c.id).where(
        resource.c.customer_id == customer_id, resource.c.id == resource_id
    )
    if connection.execute(query).first() is None:
        raise NotFoundError(f"customer {customer_id!r} has no resource {resource_id!r}")


def take_version(connection: Connection, customer_id: str, now_ms: int) -> int:
    """Give the customer the environment's next revision as its version."""
    version = next_revision(connection, now_ms)
    connection.execute(update(customer).where(customer.c.id == customer_id).values(version=version))
    return version


def load_record(connection: Connection, customer_id: str) -> CustomerRecord:
    """Return a customer. Raises NotFoundError."""
    for record in load_records(connection, [customer_id]):
        return record
    raise NotFoundError(f"customer {customer_id!r} does not exist")


def owner(customer_id: str, resource_id: str) -> str:
    """Name a customer, or a resource of it, in a message."""
    if not resource_id:
        return f"customer {customer_id!r}"
    return f"resource {resource_id!r} of customer {customer_id!r}"
