"""What applying an event needs, and which customers the other system means."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, select

from control_plane.importers.config import StripeImport
from control_plane.provisioning import CatalogLibrary, NewCustomer, create_customer
from control_plane.provisioning.external_ids import (
    ExternalId,
    find_customer,
    find_external_id,
    set_external_id,
)
from control_plane.storage.tables import customer
from weighbridge.rules.errors import FailedPreconditionError

STRIPE = "stripe"
CUSTOMER_KEY = "weighbridge_customer"
RESOURCE_KEY = "weighbridge_resource"


class Work(NamedTuple):
    """A transaction, what prices mean, and now."""

    connection: Connection
    library: CatalogLibrary
    config: StripeImport
    now_ms: int


def known_customer(work: Work, *names: str, stripe_id: str) -> str:
    """Return the customer: by its external id, by a name it is given there, by its Stripe id.

    "" where nobody is meant who is known.
    """
    found = find_customer(work.connection, STRIPE, stripe_id) if stripe_id else None
    if found is not None:
        return found
    for name in (*names, stripe_id):
        if name and _exists(work.connection, name):
            return name
    return ""


def provisioned_customer(work: Work, stripe_id: str, name: str) -> str:
    """Return the customer of a subscription; make one where nobody is meant who is known.

    Raises FailedPreconditionError where the one that is named is another's in Stripe.
    """
    found = find_customer(work.connection, STRIPE, stripe_id)
    if found is not None:
        return found
    id_ = name or stripe_id
    if not _exists(work.connection, id_):
        new = NewCustomer(id_, catalog=work.config.catalog)
        create_customer(work.connection, work.library, new, work.now_ms)
    other = find_external_id(work.connection, STRIPE, id_)
    if other is not None:
        raise FailedPreconditionError(
            f"customer {id_!r} is {other} in Stripe, not {stripe_id}; "
            "mend the external id, or the metadata there"
        )
    set_external_id(work.connection, ExternalId(id_, STRIPE, stripe_id))
    return id_


def _exists(connection: Connection, id_: str) -> bool:
    return connection.scalar(select(customer.c.id).where(customer.c.id == id_)) is not None
