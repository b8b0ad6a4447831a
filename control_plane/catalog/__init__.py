"""The catalog document: YAML, validated, compiled to a catalog; and what two of those differ in."""

from control_plane.catalog.comparing import (
    CatalogChange,
    ChangeKind,
    diff_catalogs,
    next_plan_versions,
)
from control_plane.catalog.compiling import compile_catalog
from control_plane.catalog.document import CatalogDocument, catalog_schema
from control_plane.catalog.loading import load_document
from control_plane.catalog.notices import notices

__all__ = [
    "CatalogChange",
    "CatalogDocument",
    "ChangeKind",
    "catalog_schema",
    "compile_catalog",
    "diff_catalogs",
    "load_document",
    "next_plan_versions",
    "notices",
]
