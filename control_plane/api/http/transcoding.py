"""JSON requests to calls of the services, and back: protobuf's own JSON, with the contract's names.

So 64-bit integers are texts in answers, as protobuf's JSON has them; in requests numbers will do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from control_plane.api.http.routes import Route
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.v1 import (
    admin_service_pb2,
    billing_service_pb2,
    credit_service_pb2,
    integration_service_pb2,
)

BODY_BYTES_MAX: Final = 4 << 20
_FILES: Final = (
    admin_service_pb2,
    billing_service_pb2,
    credit_service_pb2,
    integration_service_pb2,
)


class Types(NamedTuple):
    """The messages of a method, as protobuf describes them."""

    request: Any
    response: Any


def types_of(route: Route) -> Types:
    """Return the messages of a route's method."""
    for file in _FILES:
        service = file.DESCRIPTOR.services_by_name.get(route.service)
        if service is not None:
            method = service.methods_by_name[route.method]
            return Types(method.input_type, method.output_type)
    raise LookupError(route.service)


def request_of(
    route: Route, path: Mapping[str, str], query: Mapping[str, list[str]], body: bytes
) -> Message:
    """Return the request of a call. Raises InvalidArgumentError naming what is wrong."""
    request: Message = GetMessageClass(types_of(route).request)()
    document: dict[str, Any] = {}
    if route.verb in {"POST", "PUT"}:
        document = _body(body)
        if route.body:
            document = {route.body: document}
    else:
        document = _from_query(request, query)
    for name, value in path.items():
        if document.setdefault(name, value) != value:
            raise InvalidArgumentError(name, f"{document[name]!r} is not the {value!r} of the path")
    try:
        json_format.ParseDict(document, request)
    except json_format.ParseError as error:
        raise InvalidArgumentError("body", str(error).replace("\n", " ")) from error
    return request


def answer_of(response: Message) -> dict[str, Any]:
    """Return an answer as JSON: every field that is always there, also where it is empty."""
    return json_format.MessageToDict(
        response,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


def _body(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError("body", f"is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidArgumentError("body", "is no JSON object")
    return document


def _from_query(request: Message, query: Mapping[str, list[str]]) -> dict[str, Any]:
    fields = request.DESCRIPTOR.fields_by_name
    document: dict[str, Any] = {}
    for name, values in query.items():
        field = fields.get(name)
        if field is None or field.message_type is not None:
            known = ", ".join(n for n, f in fields.items() if f.message_type is None)
            raise InvalidArgumentError(name, f"cannot be asked for; there are {known}")
        told = [_plain(field, name, value) for value in values]
        if not field.is_repeated and len(told) > 1:
            raise InvalidArgumentError(name, "is given twice")
        document[name] = told if field.is_repeated else told[0]
    return document


def _plain(field: Any, name: str, value: str) -> Any:
    if field.type == field.TYPE_BOOL:
        if value not in {"true", "false"}:
            raise InvalidArgumentError(name, f"{value!r} is not true or false")
        return value == "true"
    return value
