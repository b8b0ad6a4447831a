"""Who has changed: told after each commit to whoever listens in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple


class ChangeNotice(NamedTuple):
    """Customers and catalogs that have a new version."""

    customers: tuple[str, ...]
    catalogs: tuple[str, ...]


Listener = Callable[[ChangeNotice], None]


class ChangeNotices:
    """Fans notices out to listeners, all on one event loop. A listener only takes note."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call the listener with every notice from now on; return what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def publish(self, customers: Iterable[str] = (), catalogs: Iterable[str] = ()) -> None:
        """Tell which customers and catalogs have a new version."""
        notice = ChangeNotice(tuple(customers), tuple(catalogs))
        for listener in tuple(self._listeners):
            listener(notice)
