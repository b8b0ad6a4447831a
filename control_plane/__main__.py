"""`python -m control_plane`: settings from the environment; one line says what is wrong."""

from __future__ import annotations

import asyncio
import os
import sys

from control_plane.process import run
from control_plane.settings import settings_from_environment
from weighbridge.rules.errors import WeighbridgeError
from weighbridge.runtime.logs import configure_logs

EXIT_FAILED = 1
EXIT_SETTINGS = 2


def main() -> int:
    """Run the control plane; return the exit code."""
    try:
        settings = settings_from_environment(os.environ)
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


if __name__ == "__main__":
    sys.exit(main())
