import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.dates import MAX_YEAR, HistoricalDate, Precision
from graph.dates import describe

P = Precision


@pytest.mark.parametrize(
    ("year", "month", "day", "precision", "expected"),
    [
        (1844, 10, 15, P.DAY, "15 October 1844"),
        (-43, 3, 15, P.DAY, "15 March 44 BCE"),
        (1905, 6, None, P.MONTH, "June 1905"),
        (-383, None, None, P.YEAR, "384 BCE"),
        (0, None, None, P.YEAR, "1 BCE"),
        (1, None, None, P.YEAR, "1 CE"),
        (999, None, None, P.YEAR, "999 CE"),
        (1000, None, None, P.YEAR, "1000"),
        (1844, None, None, P.DECADE, "1840s"),
        (65, None, None, P.DECADE, "60s CE"),
        (5, None, None, P.DECADE, "1 BCE to 9 CE"),
        (-4, None, None, P.DECADE, "11 to 2 BCE"),
        (-499, None, None, P.CENTURY, "5th century BCE"),
        (-400, None, None, P.CENTURY, "5th century BCE"),
        (-399, None, None, P.CENTURY, "4th century BCE"),
        (0, None, None, P.CENTURY, "1st century BCE"),
        (200, None, None, P.CENTURY, "2nd century"),
        (201, None, None, P.CENTURY, "3rd century"),
        (1901, None, None, P.CENTURY, "20th century"),
        (1050, None, None, P.CENTURY, "11th century"),
        (2050, None, None, P.CENTURY, "21st century"),
        (-2999, None, None, P.MILLENNIUM, "3rd millennium BCE"),
        (-9999, None, None, P.TEN_THOUSAND_YEARS, "about 10,000 BCE"),
        (-65_000_000, None, None, P.MILLION_YEARS, "about 65 million years ago"),
        (-13_798_000_000, None, None, P.MILLION_YEARS, "about 13.798 billion years ago"),
        (20_000, None, None, P.TEN_THOUSAND_YEARS, "about 20,000 CE"),
    ],
)
def test_date_in_words_is_no_more_exact_than_known(
    year: int, month: int | None, day: int | None, precision: Precision, expected: str
) -> None:
    assert describe(HistoricalDate.build(year, month, day, precision)) == expected


@given(st.integers(-MAX_YEAR, MAX_YEAR), st.sampled_from(Precision))
def test_every_date_has_words(year: int, precision: Precision) -> None:
    assert describe(HistoricalDate.build(year, 1, 1, precision)).strip()
