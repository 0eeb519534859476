"""Page 1 beside page 10,000 of `data`: 20 records a page, a million records of five sources, each order.

    uv run python -m benchmarks.pages
    uv run python -m benchmarks.pages 200000        # fewer records, and so a less deep page

The pages are read from an embedded PostgreSQL as the API reads them, alternately; medians of eleven, in milliseconds.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from sqlalchemy import text

from db.embedded import database
from db.migrations import upgrade
from db.reading import ReadSession
from db.record_keys import Position, RecordOrder, RecordPage, Wanted
from db.records import position_of, record_page
from db.session import read_engine, write_engine
from db.settings import Settings

PAGE = 20
ROUNDS = 11
_RECORDS = """
    INSERT INTO record (source, external_id, title, value, created_at, updated_at, attributes, run_id)
    SELECT 'source' || number % 5, number, 'Title ' || md5(number::text), random() * 1000,
           timestamptz '2000-01-01' + random() * interval '9000 days', now() - random() * interval '900 days',
           jsonb_build_object('number', number), 1
    FROM generate_series(1, :records) AS number
"""


async def fill(url: str, records: int) -> None:
    """Write the records."""
    engine = write_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO etl_run (source, params, status) VALUES ('all', '{}', 'DONE')"))
        await connection.execute(text(_RECORDS), {"records": records})
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("VACUUM ANALYZE record"))
    await engine.dispose()


async def measure(url: str, records: int) -> None:
    """Print the medians of each order, over all sources and over one."""
    engine = read_engine(url, 2, 60)
    deep = min(10_000, records // (5 * PAGE))
    print(f"{records} records of 5 sources: ms for page 1 and for page {deep}, {PAGE} records each")
    for source in (None, "source3"):
        for order in (RecordOrder.ID_ASC, RecordOrder.TITLE_ASC, RecordOrder.VALUE_DESC, RecordOrder.CREATED_DESC):
            session = ReadSession(engine)
            wanted = Wanted(source=source)
            times: tuple[list[float], list[float]] = ([], [])
            last = await _position(session, wanted, order, (deep - 1) * PAGE)
            for _ in range(ROUNDS):
                for taken, after in zip(times, (None, last), strict=True):
                    begin = time.perf_counter()
                    rows, _ = await record_page(session, RecordPage(wanted, order, PAGE, after))
                    taken.append((time.perf_counter() - begin) * 1000)
                    assert len(rows) == PAGE
            await session.close()
            first, far = map(median, times)
            print(f"  {source or 'all sources':12} {order.value:13} {first:7.2f} {far:7.2f}")
    await engine.dispose()


async def _position(session: ReadSession, wanted: Wanted, order: RecordOrder, records: int) -> Position:
    """Return the position after so many records."""
    rows, _ = await record_page(session, RecordPage(wanted, order, 1, offset=records - 1))
    return position_of(rows[-1])


def main() -> None:
    """Fill a database and measure."""
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with (
        tempfile.TemporaryDirectory() as directory,
        database(Settings(database_url=None, data_dir=Path(directory))) as url,
    ):
        upgrade(url)
        asyncio.run(fill(url, records))
        asyncio.run(measure(url, records))


if __name__ == "__main__":
    main()
