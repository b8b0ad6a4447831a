"""Plain values to the document models; what pydantic finds wrong, in our words and with lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from control_plane.catalog.credit_document import (
    EXPIRY_WORD,
    CreditCostDocument,
    CreditGrantDocument,
    CreditTypeDocument,
    ExpiryDocument,
    TopUpDocument,
)
from control_plane.catalog.document import (
    AddOnDocument,
    CatalogDocument,
    OfferDocument,
    PlanDocument,
    TrialDocument,
)
from control_plane.catalog.document_parts import RULE_OF_PATTERN, DocumentModel
from control_plane.catalog.feature_document import (
    EXCESS_WORD,
    FEATURE_TYPES,
    OUTAGE_WORD,
    BooleanFeature,
    EnumFeature,
    MeteredFeature,
    NumberFeature,
    SafeCapacityDocument,
)
from control_plane.catalog.grant_document import (
    GRANT_WORD,
    LENGTH_WORD,
    LIMIT_WORD,
    WINDOW_WORD,
    AddOnLimitDocument,
    AddOnRateDocument,
    AnniversaryWindow,
    CalendarWindow,
    CreditDrawDocument,
    LengthDocument,
    LimitDocument,
    LimitsDocument,
    RateDocument,
    RollingWindow,
    SessionWindow,
)
from control_plane.catalog.partner_document import (
    PartnerAppDocument,
    PartnerQuotaDocument,
    QuotaLimitDocument,
    RevenueShareDocument,
    ShareTierDocument,
)
from control_plane.catalog.price_document import (
    MODEL_OF_PRICE_TAG,
    PRICE_KINDS,
    TierDocument,
    price_tag,
)
from control_plane.catalog.problem import Path, Problem, line_of, listed, quoted, raise_first
from control_plane.catalog.yaml_source import YamlSource

_GRANT_FORMS: Final = (
    "true, false, an integer, unlimited, a list of values, or limits, rates and credits"
)

# What is right where an alternative was taken for a word, and the word is none of its words.
_FORMS_OF_TAG: Final = {
    GRANT_WORD: _GRANT_FORMS,
    LIMIT_WORD: "an integer or unlimited",
    OUTAGE_WORD: "leased, deny, allow, last_known or {safe_capacity: UNITS}",
    EXCESS_WORD: "reject, take_available, overdraft or {overdraft: UNITS}",
    EXPIRY_WORD: "never, period_end, trial_end or {after_days: DAYS}",
    WINDOW_WORD: "hour, day, week, month, year, lifetime, {calendar: PERIOD}, "
    "{anniversary: PERIOD}, {rolling: LENGTH} or {session: LENGTH}",
    LENGTH_WORD: "hour, day, week or such as {hours: 5}",
}


def document_from_source(source: YamlSource, source_name: str) -> CatalogDocument:
    """Validate plain values. Raises InvalidArgumentError for the first key that is wrong."""
    try:
        return CatalogDocument.model_validate(source.data)
    except ValidationError as error:
        raise_first(_problems(error.errors(), source), source_name)
        raise


def _problems(errors: list[ErrorDetails], source: YamlSource) -> Iterator[Problem]:
    misspelled = {each["loc"][:-1] for each in errors if each["type"] == "extra_forbidden"}
    # That a value could be left out helps nobody who wrote one.
    for details in (each for each in errors if each["type"] != "none_required"):
        # A misspelled key is missing too, but that is the same mistake.
        if details["type"] != "missing" or details["loc"][:-1] not in misspelled:
            path = _path(details, source.data)
            yield Problem(line_of(path, source.lines), path, _text(details))


def _path(details: ErrorDetails, data: Any) -> Path:
    """Return the path of an error: its location without the tags of alternatives."""
    path: Path = ()
    for part in details["loc"]:
        is_index = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if is_index or (isinstance(data, dict) and part in data):
            data = data[part]
            path = (*path, part)
    return (*path, details["loc"][-1]) if details["type"] == "missing" else path


def _text(details: ErrorDetails) -> str:
    last = details["loc"][-1] if details["loc"] else ""
    if details["type"] == "literal_error" and last in _FORMS_OF_TAG:
        return f"is {_shown(details['input'])}; write {_FORMS_OF_TAG[str(last)]}"
    if details["type"] == "literal_error" and last == "type":
        return f"is {_shown(details['input'])}; write one of {listed(FEATURE_TYPES)}"
    tell = _TEXTS.get(details["type"])
    return details["msg"] if tell is None else tell(details)


def _must_be(what: str) -> Callable[[ErrorDetails], str]:
    return lambda details: f"must be {what}, but is {_shown(details['input'])}"


def _no_tag(details: ErrorDetails) -> str:
    if price_tag.__name__ in details["ctx"]["discriminator"]:
        return f"says no price; write one of {', '.join(PRICE_KINDS)}"
    return _must_be(_GRANT_FORMS)(details)


def _unknown_key(details: ErrorDetails) -> str:
    known = listed(list(_model_at(details["loc"][:-1]).model_fields))
    return f"is not a key here; known keys: {known}"


def _below(details: ErrorDetails) -> str:
    problem = "is negative" if details["input"] < 0 else "is too small"
    return f"{details['input']} {problem}; at least {details['ctx']['ge']}"


def _above(details: ErrorDetails) -> str:
    return f"{quoted(details['input'])} is too large; at most {details['ctx']['le']}"


def _too_long(details: ErrorDetails) -> str:
    length, length_max = details["ctx"]["actual_length"], details["ctx"]["max_length"]
    return f"has {length or 'more'} entries; at most {length_max}"


def _pattern(details: ErrorDetails) -> str:
    return f"{quoted(details['input'])} {RULE_OF_PATTERN[details['ctx']['pattern']]}"


# Where it helps to say what is meant.
_MISSING: Final = {"of": "is missing; a percentage is of usage or of fees"}

_TEXTS: Final[dict[str, Callable[[ErrorDetails], str]]] = {
    "missing": lambda details: _MISSING.get(str(details["loc"][-1]), "is missing"),
    "extra_forbidden": _unknown_key,
    "model_type": _must_be("a mapping"),
    "dict_type": _must_be("a mapping"),
    "list_type": _must_be("a list"),
    "string_type": _must_be("text"),
    "int_type": _must_be("an integer"),
    "bool_type": _must_be("true or false"),
    "decimal_type": _must_be("a decimal such as 0.05"),
    "union_tag_not_found": _no_tag,
    "literal_error": lambda details: (
        f"is {_shown(details['input'])}; write one of {details['ctx']['expected']}"
    ),
    "greater_than_equal": _below,
    "less_than_equal": _above,
    "too_long": _too_long,
    "too_short": lambda _: "is empty; it needs at least one entry",
    "string_too_long": lambda details: f"is longer than {details['ctx']['max_length']} characters",
    "string_too_short": lambda _: "is empty text; give it some, or leave it out",
    "string_pattern_mismatch": _pattern,
}


def _shown(value: Any) -> str:
    """Say what a wrong value is."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"the text {quoted(value)}" if isinstance(value, str) else f"the number {value}"


def _model_at(location: tuple[int | str, ...]) -> type[DocumentModel]:
    """Return the model of the mapping at an error's location."""
    if not location:
        return CatalogDocument
    section, last = location[0], location[-1]
    if len(location) == len(("plans", "ID")) and section in _MODEL_OF_SECTION:
        return _MODEL_OF_SECTION[section]
    if location[-2] == "quotas":
        return PartnerQuotaDocument
    if isinstance(last, int):
        # Between the key and the index, a list that may be left out has a tag of its own.
        key = next(part for part in reversed(location[:-1]) if part in _MODELS_OF_LIST)
        of_others, of_add_ons = _MODELS_OF_LIST[key]
        return of_add_ons if section == "add_ons" else of_others
    return _MODEL_OF_TAG[last]


_MODEL_OF_SECTION: Final[dict[int | str, type[DocumentModel]]] = {
    "plans": PlanDocument,
    "add_ons": AddOnDocument,
    "credit_types": CreditTypeDocument,
    "partner_apps": PartnerAppDocument,
}

# What a list holds: in add-ons, and everywhere else.
_MODELS_OF_LIST: Final[dict[int | str, tuple[type[DocumentModel], type[DocumentModel]]]] = {
    "limits": (LimitDocument, AddOnLimitDocument),
    "rates": (RateDocument, AddOnRateDocument),
    "graduated": (TierDocument, TierDocument),
    "volume": (TierDocument, TierDocument),
    "costs": (CreditCostDocument, CreditCostDocument),
    "credit_grants": (CreditGrantDocument, CreditGrantDocument),
    "top_ups": (TopUpDocument, TopUpDocument),
    "per_customer": (QuotaLimitDocument, QuotaLimitDocument),
    "total": (QuotaLimitDocument, QuotaLimitDocument),
    "shares": (RevenueShareDocument, RevenueShareDocument),
    "tiers": (ShareTierDocument, ShareTierDocument),
}

_MODEL_OF_TAG: Final[dict[str, type[DocumentModel]]] = {
    "feature boolean": BooleanFeature,
    "feature number": NumberFeature,
    "feature enum": EnumFeature,
    "feature metered": MeteredFeature,
    "grant limits": LimitsDocument,
    "outage mapping": SafeCapacityDocument,
    "window calendar": CalendarWindow,
    "window anniversary": AnniversaryWindow,
    "window rolling": RollingWindow,
    "window session": SessionWindow,
    "length mapping": LengthDocument,
    "offer": OfferDocument,
    "trial": TrialDocument,
    "credits draw": CreditDrawDocument,
    "expiry days": ExpiryDocument,
    **MODEL_OF_PRICE_TAG,
}
