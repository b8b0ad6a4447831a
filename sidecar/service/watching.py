"""Who watches which customer: changes that come faster than they are read are folded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Watchers:
    """The open watches. Everything runs on the thread that owns the gate."""

    def __init__(self) -> None:
        self._by_customer: dict[str, set[asyncio.Event]] = {}
        # Those above whom an event's customer is under.
        self._above: dict[asyncio.Event, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._above)

    def is_watched(self, customer: str) -> bool:
        """Whether anybody watches the customer, or one under it."""
        return customer in self._by_customer

    @contextmanager
    def watching(self, customer: str) -> Iterator[asyncio.Event]:
        """Watch a customer: the event is set whenever its answers may have changed."""
        event = asyncio.Event()
        self._by_customer.setdefault(customer, set()).add(event)
        self._above[event] = ()
        try:
            yield event
        finally:
            self._forget(event, (customer, *self._above.pop(event)))

    def watch_above(self, event: asyncio.Event, ancestors: tuple[str, ...]) -> None:
        """Have a watch's event set for those above its customer as well."""
        for ancestor in ancestors:
            events = self._by_customer.setdefault(ancestor, set())
            if event not in events:
                events.add(event)
                self._above[event] += (ancestor,)

    def _forget(self, event: asyncio.Event, customers: Iterable[str]) -> None:
        for customer in customers:
            events = self._by_customer[customer]
            events.discard(event)
            if not events:
                del self._by_customer[customer]

    def changed(self, customer: str) -> None:
        """Wake those who watch the customer."""
        for event in self._by_customer.get(customer, ()):
            event.set()

    def all_changed(self) -> None:
        """Wake everybody: a catalog changed."""
        for events in self._by_customer.values():
            for event in events:
                event.set()
