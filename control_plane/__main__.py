"""`python -m control_plane`: runs the process with settings from the environment."""

from __future__ import annotations

import sys

from control_plane.process import run
from control_plane.settings import settings_from_environment
from weighbridge.runtime.main import run_process

if __name__ == "__main__":
    sys.exit(run_process(settings_from_environment, run))
