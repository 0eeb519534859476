from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, column, func, literal, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY

from db.dates import MAX_YEAR, Calendar, HistoricalDate, Precision, days_in_month, format_date, from_day_number
from db.models.atlas import DATE_PARTS
from db.reading import ReadSession
from db.session import read_engine
from graph.compiled.dates import CALENDAR, EARLIEST, IN_WORDS, ISO_DATE, LATEST, PRECISION
from graph.compiled.mapping import Row
from graph.dates import describe

SQL = (ISO_DATE, EARLIEST, LATEST, IN_WORDS, PRECISION, CALENDAR)

years = st.one_of(
    st.integers(-MAX_YEAR, MAX_YEAR),
    st.integers(-12_000, 12_000),
    st.integers(-120, 120),
    st.sampled_from([-(10**9), -(10**6), -1_234_565_000, -999_999_950, 1 - 10**9, 0, 999, 1000, 9999, 10_000]),
)


@st.composite
def dates(draw: st.DrawFn) -> HistoricalDate:
    year, month = draw(years), draw(st.integers(1, 12))
    day = draw(st.integers(1, days_in_month(year, month)))
    return HistoricalDate.build(year, month, day, draw(st.sampled_from(Precision)), draw(st.sampled_from(Calendar)))


@pytest.fixture(scope="module")
async def session(sample_url: str) -> AsyncIterator[ReadSession]:
    engine = read_engine(sample_url, 1, 30)
    session = ReadSession(engine)
    yield session
    await session.close()
    await engine.dispose()


@given(st.lists(dates(), min_size=1, max_size=60))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_date_in_sql_is_written_as_python_writes_it(session: ReadSession, given: list[HistoricalDate]) -> None:
    parts: Any = [literal([getattr(date, part) for date in given], ARRAY(BigInteger)) for part in DATE_PARTS]
    stated = func.unnest(*parts).table_valued(*(column(part, BigInteger) for part in DATE_PARTS))
    row = Row({part: literal_column(f'stated."{part}"', BigInteger) for part in DATE_PARTS})
    statement = select(*(one.sql(row, None) for one in SQL)).select_from(stated.render_derived(name="stated"))
    assert [tuple(found) for found in await session.rows(statement)] == [_written(date) for date in given]


def _written(date: HistoricalDate) -> tuple[str, ...]:
    bounds = [format_date(*from_day_number(day)) for day in (date.first, date.last)]
    return date.isoformat(), *bounds, describe(date), date.precision.name, date.calendar.name
