"""Load the sample in small batches and kill -9 this very process at a place.

A place is `batch N`, or `publishing SECONDS` or `measuring SECONDS` after that stage begins.
"""

import asyncio
import os
import signal
import sys
import threading

from db.session import write_engine
from etl import pipeline
from etl.pipeline import Options, Progress
from etl.sources import prerequisites, sparql_json
from etl.sources.sample import Sample

sparql_json.BATCH_ROWS = prerequisites.BATCH_ROWS = 400


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def watch(progress: Progress) -> None:
    place, amount = sys.argv[1], float(sys.argv[2])
    if place == progress.stage:
        threading.Timer(amount, die).start()
    if place == "batch" and progress.processed >= amount * 400:
        die()


if __name__ == "__main__":
    asyncio.run(pipeline.run(write_engine(os.environ["DATABASE_URL"]), Sample(), Options(watch=watch)))
