"""A progress bar on stderr for what takes long; nothing where nobody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from weighbridge.cli.output import screen


@contextmanager
def track(what: str, total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Show a bar for `total` steps; the value given is called after each."""
    console = screen(to_stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    ) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
