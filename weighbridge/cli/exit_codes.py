"""How a command ends: the exit codes, and the error that carries one."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """What a script can tell from `$?`."""

    OK = 0
    NO = 1
    USAGE = 2
    INVALID = 3
    NOT_FOUND = 4
    CONFLICT = 5
    UNAVAILABLE = 6
    UNAUTHENTICATED = 7
    FAILED = 8
    BUG = 70
    INTERRUPTED = 130


MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "done; or the answer is yes",
    ExitCode.NO: "the answer is no: refused, a doctor check failed, a diff with --exit-code",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.INVALID: "an input is invalid: a catalog file, a field of the request",
    ExitCode.NOT_FOUND: "an id that does not exist",
    ExitCode.CONFLICT: "an id is taken, or something stands in the way",
    ExitCode.UNAVAILABLE: "not reachable, or cannot be done now; nothing was done",
    ExitCode.UNAUTHENTICATED: "no token, or one that is not known",
    ExitCode.FAILED: "a process did not start or ended by itself, or a server failed",
    ExitCode.BUG: "a defect of the command itself; the trace says where",
    ExitCode.INTERRUPTED: "interrupted",
}


class CommandError(Exception):
    """Ends the command with one line on stderr and an exit code. The message says what to do."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class UsageError(CommandError):
    """The command line is wrong in a way that only the command sees."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.USAGE)


class CommandNoError(Exception):
    """Ends a command whose answer was printed, and is no."""
