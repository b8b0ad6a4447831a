"""The outermost of a process: settings from the environment, one line for what is wrong."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol, TypeVar

from weighbridge.rules.errors import WeighbridgeError
from weighbridge.runtime.logs import configure_logs

EXIT_FAILED: Final = 1
EXIT_SETTINGS: Final = 2


class LogSettings(Protocol):
    """What of a process's settings concerns its logs."""

    @property
    def log_level(self) -> str:
        """The least level that is logged."""

    @property
    def log_format(self) -> str:
        """json, or console for people."""


SettingsT = TypeVar("SettingsT", bound=LogSettings)


def run_process(
    read_settings: Callable[[Mapping[str, str]], SettingsT],
    run: Callable[[SettingsT], Coroutine[Any, Any, None]],
) -> int:
    """Run a process to its end; return the exit code."""
    try:
        settings = read_settings(os.environ)
        configure_logs(settings.log_level, is_console=settings.log_format == "console")
    except WeighbridgeError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_SETTINGS
    try:
        asyncio.run(run(settings))
    except WeighbridgeError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_FAILED
    return 0
