"""Logs are JSON on one line each, and hold no secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.runtime.logs import configure_logs, get_logger


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, level = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_log_is_one_json_object() -> None:
    stream = io.StringIO()
    logger = get_logger("control_plane")
    configure_logs("info", stream=stream)
    logger.info("applied", catalog="api", version=3)
    logger.debug("not told")

    [line] = stream.getvalue().splitlines()
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "applied",
        "level": "info",
        "part": "control_plane",
        "catalog": "api",
        "version": 3,
    }


def test_libraries_log_the_same_way() -> None:
    stream = io.StringIO()
    configure_logs("info", stream=stream)
    logging.getLogger("grpc").warning("from %s", "grpc")
    logging.getLogger("grpc").info("not told")

    [line] = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "from grpc"


def test_an_exception_is_on_the_same_line() -> None:
    stream = io.StringIO()
    configure_logs("error", stream=stream)
    try:
        int("that")
    except ValueError:
        get_logger("api").exception("failed")

    [line] = stream.getvalue().splitlines()
    assert "ValueError: invalid literal" in json.loads(line)["exception"]


def test_secrets_are_not_logged() -> None:
    stream = io.StringIO()
    configure_logs("info", stream=stream)
    get_logger("api").info(
        "called",
        token="wb_hidden",
        admin_token_file="admin.token",
        metadata={"authorization": "Bearer wb_hidden", "user-agent": "cli"},
    )

    assert "wb_hidden" not in stream.getvalue()
    event = json.loads(stream.getvalue())
    assert event["admin_token_file"] == "admin.token"
    assert event["metadata"]["user-agent"] == "cli"


def test_lines_for_people() -> None:
    stream = io.StringIO()
    configure_logs("info", is_console=True, stream=stream)
    get_logger("api").info("applied", catalog="api")

    assert "applied" in stream.getvalue()
    assert "catalog=api" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_a_traceback_for_people_shows_no_variables() -> None:
    def fail(token: str) -> None:
        raise ValueError(f"{len(token)} characters")

    stream = io.StringIO()
    configure_logs("info", is_console=True, stream=stream)
    try:
        fail("wb_" + "hidden")
    except ValueError:
        get_logger("api").exception("failed")

    assert "ValueError: 9 characters" in stream.getvalue()
    assert "wb_hidden" not in stream.getvalue()


def test_an_unknown_level_is_named() -> None:
    with pytest.raises(InvalidArgumentError, match="log_level: 'loud' is not one of debug, info"):
        configure_logs("loud")
