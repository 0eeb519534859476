"""Run the ETL's command line, and hit it, its server or itself, at a moment that tests/hits.py tells.

Usage: PLACE AMOUNT die|term|crash|stop, then the command's own arguments. SERVER is the process id of a PostgreSQL.
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


ACTS: dict[str, Callable[[], object]] = {
    "die": die,
    "term": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "crash": lambda: crash(server()),
    "stop": lambda: os.kill(server(), signal.SIGQUIT),
}


@contextmanager
def watched() -> Iterator[progress.Watcher]:
    yield lambda _: hit(sys.argv[1], float(sys.argv[2]), ACTS[sys.argv[3]])


if __name__ == "__main__":
    progress.shown = watched
    app(sys.argv[4:])
