"""Messages of the wire contract as JSON: the shapes that `--json` promises.

Every field is there, under its name in the contract. A field that is not set is null; an integer
is a number; an enum value is its name without the type's prefix, and null where unspecified.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

JsonObject = dict[str, Any]

# protobuf's own stubs disagree on the class of a descriptor (Python's or upb's).
FieldDescriptor = Any
EnumDescriptor = Any


def message_to_json(message: Message) -> JsonObject:
    """Return a message as the documented JSON object."""
    return {field.name: _field_to_json(message, field) for field in message.DESCRIPTOR.fields}


def enum_label(descriptor: EnumDescriptor, number: int) -> str | None:
    """Return the name of an enum value without the type's prefix; None where unspecified."""
    if number == 0:
        return None
    value = descriptor.values_by_number.get(number)
    if value is None:
        return str(number)
    prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return str(value.name).removeprefix(prefix)


def _field_to_json(message: Message, field: FieldDescriptor) -> Any:
    value = getattr(message, field.name)
    if _is_map(field):
        return dict(value)
    if field.is_repeated:
        return [_value_to_json(field, item) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value_to_json(field, value)


def _value_to_json(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        return message_to_json(value)
    if field.enum_type is not None:
        return enum_label(field.enum_type, value)
    return value.hex() if isinstance(value, bytes) else value


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)
