"""Run the ETL's command line, and hit it, its server or itself, at a moment that tests/hits.py tells.

Usage: PLACE AMOUNT ACT, then the command's own arguments. The environment's SERVER is a PostgreSQL's process id.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from etl import progress
from etl.cli import app
from etl.sources import csv_file, prerequisites, sparql_json
from tests.hits import die, hit
from tests.postgres import crash

sparql_json.BATCH_ROWS = prerequisites.BATCH_ROWS = csv_file.PAGE_ROWS = 400


def server() -> int:
    return int(os.environ["SERVER"])


def terminate_twice() -> None:
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)


ACTS: dict[str, Callable[[], object]] = {
    "die": die,
    "term": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "term twice": terminate_twice,
    "crash": lambda: crash(server()),
    "stop": lambda: os.kill(server(), signal.SIGQUIT),
}


@contextmanager
def watched() -> Iterator[progress.Watcher]:
    yield lambda _: hit(sys.argv[1], float(sys.argv[2]), ACTS[sys.argv[3]])


if __name__ == "__main__":
    progress.shown = watched
    app(sys.argv[4:])
