import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.dates import (
    Calendar,
    HistoricalDate,
    Precision,
    day_number,
    first_day,
    from_day_number,
    julian_to_gregorian,
    last_day,
)
from db.errors import InvalidDateError

YEARS = st.integers(-13_800_000_000, 10_000)


@given(st.dates())
def test_day_number_agrees_with_the_standard_library(date: datetime.date) -> None:
    assert day_number(date.year, date.month, date.day) == date.toordinal()
    assert from_day_number(date.toordinal()) == (date.year, date.month, date.day)


@given(st.integers(day_number(-13_800_000_000), day_number(9999)))
def test_day_number_round_trips_over_all_years(number: int) -> None:
    assert day_number(*from_day_number(number)) == number


@given(YEARS, st.sampled_from(list(Precision)))
def test_interval_holds_the_stated_year(year: int, precision: Precision) -> None:
    date = HistoricalDate.build(year, 1, 1, precision)
    assert date.first <= first_day(year)
    assert date.first <= date.last
    if precision <= Precision.YEAR:
        assert date.last >= last_day(year)


@given(YEARS, st.sampled_from([Precision.YEAR, Precision.MONTH, Precision.DAY]))
def test_isoformat_parses_back(year: int, precision: Precision) -> None:
    date = HistoricalDate.build(year, 12, 31, precision)
    assert HistoricalDate.parse(date.isoformat(), precision) == date


@pytest.mark.parametrize(
    ("text", "year", "precision", "iso"),
    [
        ("-0383-01-01T00:00:00Z", -383, Precision.YEAR, "-0383-01-01"),
        ("1844-10-15T00:00:00Z", 1844, Precision.DAY, "1844-10-15"),
        ("0000-03-01", 0, Precision.DAY, "0000-03-01"),
        ("-13798000000-01-01T00:00:00Z", -13_798_000_000, Precision.YEAR, "-13798000000-01-01"),
        ("+12024-05-05", 12_024, Precision.DAY, "+12024-05-05"),
    ],
)
def test_parse_reads_rdf_dates(text: str, year: int, precision: Precision, iso: str) -> None:
    date = HistoricalDate.parse(text)
    assert (date.year, date.precision, date.isoformat()) == (year, precision, iso)


@pytest.mark.parametrize(
    "text",
    ["", "today", "1844", "1844-13-01", "1844-02-30", "1900-02-29", "99999999999-01-02", "1844-10-15 ", "१८४४-01-01"],
)
def test_parse_refuses_what_is_no_date(text: str) -> None:
    with pytest.raises(InvalidDateError):
        HistoricalDate.parse(text)


@pytest.mark.parametrize(
    ("year", "precision", "span"),
    [
        (200, Precision.CENTURY, (101, 200)),
        (1201, Precision.CENTURY, (1201, 1300)),
        (-383, Precision.CENTURY, (-399, -300)),
        (0, Precision.CENTURY, (-99, 0)),
        (-500, Precision.MILLENNIUM, (-999, 0)),
        (1984, Precision.DECADE, (1980, 1989)),
        (-329, Precision.DECADE, (-338, -329)),
        (-13_798_000_000, Precision.MILLION_YEARS, (-13_798_500_000, -13_797_500_000)),
    ],
)
def test_interval_of_coarse_precision(year: int, precision: Precision, span: tuple[int, int]) -> None:
    date = HistoricalDate.build(year, precision=precision)
    assert (date.first, date.last) == (first_day(span[0]), last_day(span[1]))


@pytest.mark.parametrize(
    ("julian", "gregorian"),
    [
        ((1582, 10, 5), (1582, 10, 15)),
        ((1917, 10, 25), (1917, 11, 7)),
        ((-43, 3, 15), (-43, 3, 13)),
        ((1700, 2, 29), (1700, 3, 11)),
    ],
)
def test_julian_days_are_the_known_gregorian_ones(
    julian: tuple[int, int, int], gregorian: tuple[int, int, int]
) -> None:
    assert julian_to_gregorian(*julian) == gregorian


def test_born_in_a_century_and_dead_before_its_end_is_no_contradiction() -> None:
    born = HistoricalDate.build(200, precision=Precision.CENTURY)
    died = HistoricalDate.build(170, calendar=Calendar.JULIAN)
    assert not died.is_before(born)
    assert HistoricalDate.build(100).is_before(died)
