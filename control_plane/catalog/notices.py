"""What of a catalog is kept, versioned and shown, and not enforced yet: told at each apply."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.rules.catalog import Catalog

PARTNER_APPS = (
    "partner apps are kept and shown, and not enforced yet: no permission or quota refuses a call, "
    "and no money is shared"
)


def notices(catalog: Catalog) -> Iterator[str]:
    """List what its parts do not do yet."""
    if catalog.partner_apps:
        yield PARTNER_APPS
