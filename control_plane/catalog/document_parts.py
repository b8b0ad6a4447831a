"""What the models of the catalog document are made of: ids, names, amounts, exact decimals."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from weighbridge.rules.credits import CREDITS_MAX, PLACES_MAX, micro_of
from weighbridge.rules.rating.money import PERCENT_MAX, PRICE_MAX, decimal_problem, plain
from weighbridge.rules.units import AMOUNT_MAX, ID_RULE

ID_PATTERN: Final = r"^[A-Za-z0-9._:@/-]{1,128}$"
URL_PATTERN: Final = r"^https?://[^\s]+$"
CURRENCY_PATTERN: Final = r"^[A-Z]{3}$"
NO_CURRENCY: Final = "is not a currency with a minor unit; write an ISO 4217 code such as EUR"
RULE_OF_PATTERN: Final = {
    ID_PATTERN: f"is not an id; an id is {ID_RULE}",
    URL_PATTERN: "is not an address; it begins with https:// or http://",
    CURRENCY_PATTERN: NO_CURRENCY,
}

Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Amount = Annotated[int, Field(ge=0, le=AMOUNT_MAX)]
CurrencyCode = Annotated[str, StringConstraints(pattern=CURRENCY_PATTERN)]
PeriodName = Literal["hour", "day", "week", "month", "year"]
# Left out. A key without a value is refused before the models see it.
Absent = SkipJsonSchema[None]

_DECIMAL_PATTERN: Final = r"-?(0|[1-9][0-9]{0,39})(\.[0-9]{1,40})?"
_DECIMAL: Final = re.compile(_DECIMAL_PATTERN, re.ASCII)


class DocumentModel(BaseModel):
    """A mapping of the document."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _decimal(value: Any, most: Decimal) -> Decimal:
    if type(value) is int or (isinstance(value, str) and _DECIMAL.fullmatch(value)):
        value = Decimal(value)
    if not isinstance(value, Decimal):
        raise PydanticCustomError("decimal_type", "must be a decimal")
    problem = decimal_problem(value, most)
    if problem is not None:
        raise PydanticCustomError("decimal", "{text}", {"text": problem})
    return value


def _price(value: Any) -> Decimal:
    return _decimal(value, PRICE_MAX)


def _percent(value: Any) -> Decimal:
    return _decimal(value, PERCENT_MAX)


def _credits(value: Any) -> Decimal:
    amount = _decimal(value, Decimal(CREDITS_MAX))
    if micro_of(amount) is None:
        text = f"{plain(amount)} is finer than a micro-credit; at most {PLACES_MAX} decimal places"
        raise PydanticCustomError("decimal", "{text}", {"text": text})
    return amount


# Editors read a number as a float; a number or a text, we read its digits.
_DECIMAL_SCHEMA: Final = WithJsonSchema(
    {
        "anyOf": [
            {"type": "number", "minimum": 0},
            {"type": "string", "pattern": r"^(0|[1-9][0-9]*)(\.[0-9]+)?$"},
        ]
    }
)
_AS_TEXT: Final = PlainSerializer(str, return_type=str)

Price = Annotated[Decimal, PlainValidator(_price), _AS_TEXT, _DECIMAL_SCHEMA]
"""An amount in the currency itself, exactly as written."""

MoneyFraction = Annotated[
    Decimal,
    PlainValidator(_price),
    _AS_TEXT,
    WithJsonSchema({"type": "number", "minimum": 0, "not": {"type": "integer"}}),
]
"""An amount that is no whole number, in the currency itself, exactly as written."""

Credits = Annotated[Decimal, PlainValidator(_credits), _AS_TEXT, _DECIMAL_SCHEMA]
"""An amount of credits, exactly as written: whole micro-credits."""

Percent = Annotated[Decimal, PlainValidator(_percent), _AS_TEXT, _DECIMAL_SCHEMA]
"""A percentage from 0 to 100, exactly as written."""
