"""Load a dump in processes that are killed (kill -9) one after the other, each going on where the last one died.

Usage: FILE SEED. The exit code is the number of those killed: KILLS of them at points drawn at random, after which one
is left alone. Each is forked from this process, which has imported all they need.
"""

import asyncio
import os
import random
import signal
import sys
import threading
from typing import Any

from db.session import WriteSession, write_engine, write_session
from etl import lines, pipeline, runs
from etl.pipeline import Options, Progress
from etl.sources.wikidata_dump import WikidataDump

KILLS = 24
KILLS_OF_EXTRACTION = 14
BATCHES, MOMENT_SECONDS, STATEMENTS = 2, 0.03, 30


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_batch(chance: random.Random) -> Options:
    """Die as a batch is staged, or at any moment before the next one is."""
    left, moment = [chance.randint(1, BATCHES)], chance.choice((0.0, chance.uniform(0, MOMENT_SECONDS)))

    def watch(progress: Progress) -> None:
        left[0] -= 1
        if left[0] == 0 and moment:
            threading.Timer(moment, die).start()
        elif left[0] <= 0:
            die()

    return Options(watch=watch)


def at_publishing(chance: random.Random) -> Options:
    """Die at one of the statements that publish."""
    left = [chance.randint(1, STATEMENTS)]
    execute = WriteSession.execute

    async def dying(session: WriteSession, *arguments: Any, **parameters: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            die()
        return await execute(session, *arguments, **parameters)

    def watch(progress: Progress) -> None:
        if progress.stage == "publishing":
            WriteSession.execute = dying  # type: ignore[method-assign,assignment]

    return Options(watch=watch)


async def load(location: str, options: Options) -> None:
    engine = write_engine(os.environ["DATABASE_URL"])
    source = WikidataDump(location, workers=0)
    async with write_session(engine) as session:
        unfinished = await runs.unfinished(session, source.name)
    if unfinished:
        await pipeline.resume(engine, source, options, unfinished[0].id)
    else:
        await pipeline.run(engine, source, options)


def is_killed(location: str, options: Options) -> bool:
    pid = os.fork()
    if pid == 0:
        asyncio.run(load(location, options))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def main(location: str, seed: int) -> None:
    lines.CHUNK_BYTES = 60_000
    chance = random.Random(seed)
    places = [at_batch] * KILLS_OF_EXTRACTION + [at_publishing] * (KILLS - KILLS_OF_EXTRACTION)
    kills = sum([is_killed(location, place(chance)) for place in places])
    sys.exit(kills + is_killed(location, Options()))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
