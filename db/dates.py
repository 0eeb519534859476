"""Historical dates: from the Big Bang to today, known to the day or only to the century.

Python's and PostgreSQL's date types have no year before 1 (or before 4713 BCE), and no precision. Here a date is a
stated year, month and day with a precision and the calendar of its source, and the interval of days the precision
leaves open. Years are astronomical (1 BCE is 0, 2 BCE is -1) and days are counted in the proleptic Gregorian
calendar from 0001-01-01 = 1, as `datetime.date.toordinal` does, over all years.
"""

import re
from enum import IntEnum
from typing import NamedTuple

from db.errors import InvalidDateError


class Precision(IntEnum):
    """How exactly a date is known; the numbers are Wikidata's (https://www.wikidata.org/wiki/Help:Dates)."""

    BILLION_YEARS = 0
    HUNDRED_MILLION_YEARS = 1
    TEN_MILLION_YEARS = 2
    MILLION_YEARS = 3
    HUNDRED_THOUSAND_YEARS = 4
    TEN_THOUSAND_YEARS = 5
    MILLENNIUM = 6
    CENTURY = 7
    DECADE = 8
    YEAR = 9
    MONTH = 10
    DAY = 11


class Calendar(IntEnum):
    """The calendar a source states; the parts of a HistoricalDate are Gregorian whatever it is."""

    GREGORIAN = 0
    JULIAN = 1


MAX_YEAR = 20_000_000_000
"""Years beyond this (the age of the universe, generously) are taken for errors."""

_DAYS_BEFORE_MONTH = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)
_DAYS_IN_MONTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SPAN_YEARS = {
    Precision.BILLION_YEARS: 1_000_000_000,
    Precision.HUNDRED_MILLION_YEARS: 100_000_000,
    Precision.TEN_MILLION_YEARS: 10_000_000,
    Precision.MILLION_YEARS: 1_000_000,
    Precision.HUNDRED_THOUSAND_YEARS: 100_000,
    Precision.TEN_THOUSAND_YEARS: 10_000,
}
_DATE = re.compile(r"([+-]?)([0-9]{1,16})-([0-9]{2})-([0-9]{2})(?:T[0-9:.]*(?:Z|[+-][0-9:]{5})?)?")


def is_leap(year: int) -> bool:
    """Tell whether an astronomical year has a 29 February in the proleptic Gregorian calendar."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def days_in_month(year: int, month: int) -> int:
    """Return the length of a Gregorian month, 28 to 31."""
    return 29 if month == 2 and is_leap(year) else _DAYS_IN_MONTH[month - 1]


def day_number(year: int, month: int = 1, day: int = 1) -> int:
    """Return the day's number in the proleptic Gregorian calendar; 0001-01-01 is 1."""
    before = year - 1
    leap_days = before // 4 - before // 100 + before // 400
    in_year = _DAYS_BEFORE_MONTH[month - 1] + (1 if month > 2 and is_leap(year) else 0)
    return before * 365 + leap_days + in_year + day


def first_day(year: int) -> int:
    """Return the number of a year's 1 January."""
    return day_number(year)


def last_day(year: int) -> int:
    """Return the number of a year's 31 December."""
    return day_number(year + 1) - 1


def from_day_number(number: int) -> tuple[int, int, int]:
    """Return the year, month and day of a day number: the inverse of `day_number`."""
    year = (number - 1) * 400 // 146_097 + 1
    while day_number(year) > number:
        year -= 1
    while day_number(year + 1) <= number:
        year += 1
    month = 12
    while day_number(year, month) > number:
        month -= 1
    return year, month, number - day_number(year, month) + 1


def julian_to_gregorian(year: int, month: int, day: int) -> tuple[int, int, int]:
    """Return the proleptic Gregorian date of the day that the Julian calendar calls year-month-day."""
    before = year - 1
    in_year = _DAYS_BEFORE_MONTH[month - 1] + (1 if month > 2 and year % 4 == 0 else 0)
    # The Julian 0001-01-01 is the Gregorian 0000-12-30, two days before.
    return from_day_number(before * 365 + before // 4 + in_year + day - 2)


class HistoricalDate(NamedTuple):
    """A date as stated, and the days [first, last] that its precision leaves open, both inclusive."""

    year: int
    month: int | None
    day: int | None
    precision: Precision
    calendar: Calendar
    first: int
    last: int

    @classmethod
    def build(
        cls,
        year: int,
        month: int | None = None,
        day: int | None = None,
        precision: Precision | None = None,
        calendar: Calendar = Calendar.GREGORIAN,
    ) -> "HistoricalDate":
        """Make a date from astronomical, Gregorian parts; parts finer than the precision are dropped.

        Raises InvalidDateError when the parts name no day, or the precision asks for a part that is missing.
        """
        if precision is None:
            precision = Precision.DAY if day else Precision.MONTH if month else Precision.YEAR
        month = month if precision >= Precision.MONTH else None
        day = day if precision >= Precision.DAY else None
        _check_parts(year, month, day, precision)
        first, last = _interval(year, month, day, precision)
        return cls(year, month, day, precision, calendar, first, last)

    @classmethod
    def parse(
        cls, text: str, precision: Precision | None = None, calendar: Calendar = Calendar.GREGORIAN
    ) -> "HistoricalDate":
        """Read an extended ISO 8601 date or dateTime with an astronomical year, as RDF and SPARQL give it.

        Without a precision, `-01-01` is read as a year: that is how a year alone is written there, and a date must
        not claim to be better known than it is.
        """
        match = _DATE.fullmatch(text)
        if not match:
            raise InvalidDateError(f"{text[:40]!r} is not a date: expected YYYY-MM-DD with an optional sign")
        sign, year_digits, month_digits, day_digits = match.groups()
        year = -int(year_digits) if sign == "-" else int(year_digits)
        month, day = int(month_digits), int(day_digits)
        if precision is None and (month, day) == (1, 1):
            precision = Precision.YEAR
        return cls.build(year, month or None, day or None, precision, calendar)

    def isoformat(self) -> str:
        """Write the date as extended ISO 8601; a missing month or day is written 01."""
        return format_date(self.year, self.month or 1, self.day or 1)

    def is_before(self, other: "HistoricalDate") -> bool:
        """Tell whether every day this date may be comes before every day the other may be."""
        return self.last < other.first


def format_date(year: int, month: int, day: int) -> str:
    """Write extended ISO 8601: four digits of year at least, a sign before 0 and beyond 9999."""
    sign = "-" if year < 0 else "+" if year > 9999 else ""
    return f"{sign}{abs(year):04d}-{month:02d}-{day:02d}"


def _check_parts(year: int, month: int | None, day: int | None, precision: Precision) -> None:
    if abs(year) > MAX_YEAR:
        raise InvalidDateError(f"year {year} is out of range: at most {MAX_YEAR} before or after year 0")
    if precision >= Precision.MONTH and (month is None or not 1 <= month <= 12):
        raise InvalidDateError(f"month {month} of year {year} does not exist: expected 1 to 12")
    if precision >= Precision.DAY and (day is None or not 1 <= day <= days_in_month(year, month or 1)):
        raise InvalidDateError(f"day {day} of {year}-{month:02d} does not exist")


def _interval(year: int, month: int | None, day: int | None, precision: Precision) -> tuple[int, int]:
    if precision is Precision.DAY and month and day:
        number = day_number(year, month, day)
        return number, number
    if precision is Precision.MONTH and month:
        return day_number(year, month), day_number(year, month, days_in_month(year, month))
    first_year, last_year = _year_span(year, precision)
    return first_day(first_year), last_day(last_year)


def _year_span(year: int, precision: Precision) -> tuple[int, int]:
    """Return the first and last astronomical year a precision coarser than the month leaves open."""
    if precision is Precision.YEAR:
        return year, year
    if precision is Precision.DECADE:
        # The 330s BCE are 339 to 330 BCE.
        start = year // 10 * 10 if year > 0 else 1 - ((1 - year) // 10 * 10 + 9)
        return start, start + 9
    if precision in (Precision.CENTURY, Precision.MILLENNIUM):
        span = 100 if precision is Precision.CENTURY else 1000
        # Centuries are counted outward from the era: 201-300 is the third, 300-201 BCE the third before.
        if year > 0:
            start = (year - 1) // span * span + 1
            return start, start + span - 1
        end = -(-year // span * span)
        return end - span + 1, end
    half = _SPAN_YEARS[precision] // 2
    return year - half, year + half
