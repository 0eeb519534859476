"""What `benchmarks.records` measures of dlt: both files, row by row, into the database that DATABASE_URL names."""

import csv
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
from sqlalchemy import make_url


def credentials(url: str) -> str:
    """Name a host and a password, which dlt wants; libpq prefers the host in the query, the embedded socket."""
    found = make_url(url)
    return found.set(host=found.host or "localhost", password=found.password or "none").render_as_string(False)


def main(directory: Path, disposition: str) -> None:
    """Load both files in one pipeline."""

    def people() -> Iterator[dict[str, Any]]:
        with (directory / "people.jsonl").open() as file:
            yield from map(json.loads, file)

    def sales() -> Iterator[dict[str, Any]]:
        with (directory / "sales.csv").open(newline="") as file:
            yield from csv.DictReader(file)

    resources = [
        dlt.resource(rows, name=name, primary_key="id", write_disposition=disposition)
        for name, rows in (("people", people), ("sales", sales))
    ]
    with tempfile.TemporaryDirectory() as state:
        pipeline = dlt.pipeline(
            "bench",
            destination=dlt.destinations.postgres(credentials(os.environ["DATABASE_URL"])),
            dataset_name="bench",
            pipelines_dir=state,
        )
        pipeline.run(resources)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
