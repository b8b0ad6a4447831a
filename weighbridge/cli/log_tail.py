"""The logs of the children on the screen, a prefix on each line."""

from __future__ import annotations

import sys
from pathlib import Path

from weighbridge.cli.output import plain


class LogTail:
    """Follows a log file from its beginning. It reads when it is told to: no thread."""

    def __init__(self, file: Path) -> None:
        self._name = file.stem
        self._log = file.open("rb")
        self._unfinished = b""

    def forward(self) -> None:
        """Show the lines that came since the last time."""
        *lines, self._unfinished = (self._unfinished + self._log.read()).split(b"\n")
        for line in lines:
            sys.stderr.write(f"{self._name:13} | {plain(line.decode('utf-8', 'replace'))}\n")

    def close(self) -> None:
        """Show what is left, and end."""
        self.forward()
        self._log.close()
