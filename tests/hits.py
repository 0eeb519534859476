"""The moments at which a load is hit, and what hits it: what the scripts that kill loads share."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from db.session import WriteSession, write_engine, write_session
from etl import pipeline, runs
from etl.pipeline import Options, Progress
from etl.source import Source

Act = Callable[[], object]


def die() -> None:
    """Kill this very process, as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def hit(place: str, amount: float, act: Act = die) -> Callable[[Progress], None]:
    """Return what watches a run and acts once.

    A place is `batch` (as that one is staged, or all are), a stage (`publishing`, `measuring`: at that statement of
    it), `time` (after so many seconds), or `never`.
    """
    left = [amount]

    def watch(progress: Progress) -> None:
        if place == "batch":
            left[0] -= 1
            if left[0] == 0:
                act()
        elif place == progress.stage:
            _at_statement(amount, act)

    if place == "time":
        threading.Timer(amount, act).start()
    return watch


def _at_statement(number: float, act: Act) -> None:
    left = [number]
    execute = WriteSession.execute

    async def hitting(session: WriteSession, *arguments: Any, **parameters: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            act()
        return await execute(session, *arguments, **parameters)

    WriteSession.execute = hitting  # type: ignore[method-assign,assignment]


async def load(source: Source, options: Options) -> None:
    """Go on with the source's unfinished run, or begin its first; one that is done is left alone."""
    engine = write_engine(os.environ["DATABASE_URL"])
    async with write_session(engine) as session:
        unfinished = await runs.unfinished(session, source.name)
        is_new = (await session.execute("SELECT 1 FROM etl_run")).first() is None
    if unfinished:
        await pipeline.resume(engine, source, options, unfinished[0].id)
    elif is_new:
        await pipeline.run(engine, source, options)


def main(source: Source, place: str, amount: str) -> None:
    """Load in this process and kill it at a moment, if it comes."""
    asyncio.run(load(source, Options(watch=hit(place, float(amount)))))
    # A timer may be left.
    os._exit(0)
