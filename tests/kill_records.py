"""Load written records in small pages, or go on with a killed run, and kill this process. Usage: see tests/hits.py."""

import sys
from typing import Any

from tests.hits import main
from tests.listed import Listed

ROWS: list[Any] = [{"id": number % 120, "name": f"Row {number % 120}", "size": number // 150} for number in range(170)]
ROWS[7], ROWS[31] = {"id": 7, "size": "many"}, "{cut"


def source() -> Listed:
    return Listed(ROWS, page_rows=2, state={"cursor": 169}, max_failed_share=0.5)


if __name__ == "__main__":
    main(source(), sys.argv[1], sys.argv[2])
