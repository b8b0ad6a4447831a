"""The OpenAPI document: made of the routes and protobuf's descriptors, so it is what is served."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from control_plane.api.http.routes import ROUTES, Route
from control_plane.api.http.transcoding import types_of

_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_WHOLE: Final = frozenset({3, 4, 6, 16, 18})
"""Numbers of protobuf's 64-bit types: texts in JSON."""

_PLAIN: Final[Mapping[int, Mapping[str, str]]] = {
    **{number: {"type": "integer"} for number in (5, 7, 13, 15, 17)},
    8: {"type": "boolean"},
    12: {"type": "string", "contentEncoding": "base64"},
}
"""Protobuf's other types by number; the rest are texts."""

_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "field": {"type": "string"},
            },
        }
    },
}
_EVENTS: Final[dict[str, Any]] = {
    "summary": "Report usage that already happened, as CloudEvents 1.0",
    "description": "Structured, binary or a batch; see docs/http.md.",
    "requestBody": {
        "required": True,
        "content": {
            name: {"schema": schema}
            for name, schema in (
                ("application/cloudevents+json", {"type": "object"}),
                ("application/cloudevents-batch+json", {"type": "array"}),
                ("application/json", {"type": "object"}),
            )
        },
    },
    "responses": {
        "202": {"description": "Committed; what a key repeats was counted before."},
        "default": {"$ref": "#/components/responses/Error"},
    },
}


def openapi_document() -> dict[str, Any]:
    """Return the document."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.verb.lower()] = _operation(route, schemas)
    paths["/v1/events"] = {"post": _EVENTS}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Weighbridge", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "Error": {
                    "description": "What is wrong, and what to do.",
                    "content": _json({"$ref": "#/components/schemas/Error"}),
                }
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    request, response = types_of(route)
    in_path = _PARAMETER.findall(route.path)
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in in_path
    ]
    operation: dict[str, Any] = {
        "operationId": route.method,
        "summary": route.summary,
        "responses": {
            "200": {"description": "Done.", "content": _json(_reference(response, schemas))},
            "default": {"$ref": "#/components/responses/Error"},
        },
    }
    if route.verb in {"POST", "PUT"}:
        asked = request.fields_by_name[route.body].message_type if route.body else request
        body = {"required": True, "content": _json(_reference(asked, schemas))}
        operation["requestBody"] = body
    else:
        parameters += [
            {"name": field.name, "in": "query", "schema": _field(field, schemas)}
            for field in request.fields
            if field.name not in in_path and field.message_type is None
        ]
    if parameters:
        operation["parameters"] = parameters
    return operation


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _reference(message: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    if message.name not in schemas:
        # First, because a message may hold itself.
        schemas[message.name] = {}
        schemas[message.name] = {
            "type": "object",
            "properties": {field.name: _field(field, schemas) for field in message.fields},
        }
    return {"$ref": f"#/components/schemas/{message.name}"}


def _field(field: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return {
            "type": "object",
            "additionalProperties": _one(message.fields_by_name["value"], schemas),
        }
    one = _one(field, schemas)
    return {"type": "array", "items": one} if field.is_repeated else one


def _one(field: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    if field.message_type is not None:
        return _reference(field.message_type, schemas)
    if field.enum_type is not None:
        return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    if field.type in _WHOLE:
        return {"type": ["string", "integer"], "format": "int64"}
    return dict(_PLAIN.get(field.type, {"type": "string"}))
