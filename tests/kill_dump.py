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

from etl import lines
from etl.pipeline import Options
from etl.sources.wikidata_dump import WikidataDump
from tests.hits import die, hit, load

KILLS = 24
KILLS_OF_EXTRACTION = 14
BATCHES, MOMENT_SECONDS, STATEMENTS = 2, 0.03, 30


def at_batch(chance: random.Random) -> Options:
    """Die as a batch is staged, or at any moment before the next one is."""
    number, moment = chance.randint(1, BATCHES), chance.choice((0.0, chance.uniform(0, MOMENT_SECONDS)))
    return Options(watch=hit("batch", number, threading.Timer(moment, die).start if moment else die))


def at_publishing(chance: random.Random) -> Options:
    """Die at one of the statements that publish."""
    return Options(watch=hit("publishing", chance.randint(1, STATEMENTS)))


def is_killed(location: str, options: Options) -> bool:
    pid = os.fork()
    if pid == 0:
        asyncio.run(load(WikidataDump(location, workers=0), options))
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
