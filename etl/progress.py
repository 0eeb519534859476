"""What a person at a terminal sees of a run: rows, rate and time left, on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Display
from rich.progress import Task as DisplayTask
from rich.text import Text

from etl.pipeline import Progress


class _Rate(ProgressColumn):
    def render(self, task: DisplayTask) -> Text:
        return Text(f"{task.speed:,.0f} rows/s" if task.speed else "")


Watcher = Callable[[str], Callable[[Progress], None] | None]
"""Gives what a source's run calls as it goes on; nothing where nobody watches."""


@contextmanager
def shown() -> Iterator[Watcher]:
    """Show the progress of runs while the block lasts; nothing when stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Display(*columns, console=Console(stderr=True), transient=True) as display:

        def watcher(source: str) -> Callable[[Progress], None]:
            task = display.add_task(source, total=None)

            def watch(progress: Progress) -> None:
                failed = f", {progress.failed} failed" if progress.failed else ""
                description = f"{source}: {progress.stage}{failed}"
                display.update(task, completed=progress.processed, total=progress.total, description=description)

            return watch

        yield watcher
