"""Logs: one JSON object per line on standard error, or lines for people. Never a secret."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

import structlog

from weighbridge.rules.errors import InvalidArgumentError

LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}

REDACTED: Final = "[redacted]"
_SECRET_WORDS: Final = ("authorization", "password", "secret", "token")
# A key that ends so says where a secret is, or how many there are, and not what it is.
_HARMLESS_ENDINGS: Final = ("_file", "_name", "_count", "_role")


def configure_logs(
    level: str = "info", *, is_console: bool = False, stream: TextIO | None = None
) -> None:
    """Send every log, those of libraries included, to `stream` (standard error).

    `level` is one of LEVELS. `is_console` writes lines for people instead of JSON.
    """
    if level not in LEVELS:
        raise InvalidArgumentError("log_level", f"{level!r} is not one of {', '.join(LEVELS)}")
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact_secrets,
    ]
    renderers: list[structlog.typing.Processor] = (
        # Plain tracebacks: rich ones show the values of local variables, secrets among them.
        [
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if is_console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # What libraries tell beyond warnings is for those who debug them.
    root.setLevel(LEVELS[level] if level == "debug" else logging.WARNING)
    logging.getLogger("weighbridge").setLevel(LEVELS[level])


def get_logger(part: str) -> structlog.typing.FilteringBoundLogger:
    """Return the logger of a part of a process, such as `control_plane`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(
        f"weighbridge.{part}", part=part
    )
    return logger


def redact_secrets(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace the values of keys that name a secret, at any depth."""
    for key, value in event.items():
        event[key] = _redacted(str(key), value)
    return event


def _redacted(key: str, value: Any) -> Any:
    if _is_secret(key):
        return REDACTED
    if isinstance(value, Mapping):
        return {inner: _redacted(str(inner), item) for inner, item in value.items()}
    return value


def _is_secret(key: str) -> bool:
    name = key.lower()
    return not name.endswith(_HARMLESS_ENDINGS) and any(word in name for word in _SECRET_WORDS)
