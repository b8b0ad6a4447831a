"""Coroutines without an event loop: run at once, or held until what they wait for is there."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class Promise:
    """Takes the place of a future. Whoever awaits it goes on when the world says so."""

    def __init__(self) -> None:
        self._result: Any = None
        self._error: BaseException | None = None
        self._is_done = False
        self.on_done: Callable[[], None] = _nothing

    def done(self) -> bool:
        return self._is_done

    def set_result(self, result: Any) -> None:
        self._result, self._is_done = result, True
        self.on_done()

    def set_exception(self, error: BaseException) -> None:
        self._error, self._is_done = error, True
        self.on_done()

    def __await__(self) -> Generator[Promise, None, Any]:
        while not self._is_done:
            yield self
        if self._error is not None:
            raise self._error
        return self._result


class Task:
    """A coroutine that may wait for promises. `end` is told of the error that ended it, if any."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        end: Callable[[BaseException | None], None],
        soon: Callable[[Callable[[], None]], None],
    ) -> None:
        self._coroutine = coroutine
        self._end = end
        self._soon = soon
        self.is_done = False
        self.step()

    def step(self) -> None:
        if self.is_done:
            return
        try:
            promise = self._coroutine.send(None)
        except StopIteration:
            self._finish(None)
        except Exception as error:  # noqa: BLE001 (handed over)
            self._finish(error)
        else:
            promise.on_done = lambda: self._soon(self.step)

    def drop(self) -> None:
        """End it where it is."""
        self.is_done = True
        self._coroutine.close()

    def _finish(self, error: BaseException | None) -> None:
        self.is_done = True
        self._end(error)


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise AssertionError("it waits for something")


def _nothing() -> None:
    return
