"""Load from a SPARQL endpoint in small pieces, or go on with a killed run, and kill -9 this process after a while.

Usage: URL batch NUMBER | URL time SECONDS | URL never 0. A run that is done is left alone.
"""

import asyncio
import os
import signal
import sys
import threading

from db.session import write_engine, write_session
from etl import pipeline, runs
from etl.pipeline import Options, Progress
from etl.sources import wikidata_sparql
from etl.sources.wikidata_sparql import WikidataSparql

wikidata_sparql.SHARD_ROWS, wikidata_sparql.BATCH_ITEMS, wikidata_sparql.WANTED_ITEMS = 30, 15, 100


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def load(url: str, place: str, amount: float) -> None:
    engine = write_engine(os.environ["DATABASE_URL"])
    async with write_session(engine) as session:
        unfinished = await runs.unfinished(session, WikidataSparql.name)
        is_new = (await session.execute("SELECT 1 FROM etl_run")).first() is None
    batches = [0]

    def watch(progress: Progress) -> None:
        batches[0] += 1
        if place == "batch" and batches[0] >= amount:
            die()

    if place == "time":
        threading.Timer(amount, die).start()
    source, options = WikidataSparql(url), Options(watch=watch)
    if unfinished:
        await pipeline.resume(engine, source, options, unfinished[0].id)
    elif is_new:
        await pipeline.run(engine, source, options)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(load(sys.argv[1], sys.argv[2], float(sys.argv[3])))
