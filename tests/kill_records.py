"""Load written records in small pages, or go on with a killed run, and kill -9 this process after a while.

Usage: batch NUMBER | time SECONDS | never 0. A run that is done is left alone.
"""

import asyncio
import os
import signal
import sys
import threading
from typing import Any

from db.session import write_engine, write_session
from etl import pipeline, runs
from etl.pipeline import Options, Progress
from tests.listed import Listed

ROWS: list[Any] = [{"id": number % 120, "name": f"Row {number % 120}", "size": number // 150} for number in range(170)]
ROWS[7], ROWS[31] = {"id": 7, "size": "many"}, "{cut"


def source() -> Listed:
    return Listed(ROWS, page_rows=2, state={"cursor": 169}, max_failed_share=0.5)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def load(place: str, amount: float) -> None:
    engine = write_engine(os.environ["DATABASE_URL"])
    async with write_session(engine) as session:
        unfinished = await runs.unfinished(session, "listed")
        is_new = (await session.execute("SELECT 1 FROM etl_run")).first() is None
    batches = [0]

    def watch(progress: Progress) -> None:
        batches[0] += 1
        if place == "batch" and batches[0] >= amount:
            die()

    if place == "time":
        threading.Timer(amount, die).start()
    if unfinished:
        await pipeline.resume(engine, source(), Options(watch=watch), unfinished[0].id)
    elif is_new:
        await pipeline.run(engine, source(), Options(watch=watch))
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(load(sys.argv[1], float(sys.argv[2])))
