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


@contextmanager
def shown(source: str) -> Iterator[Callable[[Progress], None] | None]:
    """Show a run's progress while the block lasts; gives nothing to call when stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Display(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task(source, total=None)

        def watch(progress: Progress) -> None:
            failed = f", {progress.failed} failed" if progress.failed else ""
            display.update(
                task,
                completed=progress.processed,
                total=progress.total,
                description=f"{source}: {progress.stage}{failed}",
            )

        yield watch
