"""SIGINT and SIGTERM as something to wait for."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Final, Self

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Counts the requests to stop while it is entered: the second one is urgent."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._count = 0
        self._before: list[Any] = []

    @property
    def is_asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked.is_set()

    @property
    def is_urgent(self) -> bool:
        """Whether it was asked for again: whoever asks does not want to wait."""
        return self._count > 1

    def wait(self, timeout_s: float) -> bool:
        """Wait for a stop; whether it was asked for."""
        return self._asked.wait(timeout_s)

    def __enter__(self) -> Self:
        self._before = [signal.signal(number, self._note) for number in _SIGNALS]
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in zip(_SIGNALS, self._before, strict=True):
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        self._asked.set()
