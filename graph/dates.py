"""Historical dates as GraphQL shows them: for machines in parts and bounds, for people in words."""

from decimal import ROUND_HALF_UP, Decimal

import strawberry

from db import dates
from db.dates import Calendar, Precision, format_date, from_day_number
from graph.compiled.dates import CALENDAR, EARLIEST, IN_WORDS, ISO_DATE, LATEST, PRECISION
from graph.compiled.mapping import SQL, mapped
from graph.scalars import Date, Year, described

described(
    Precision,
    "DatePrecision",
    "How exactly a date is known.",
    {
        "BILLION_YEARS": "To the billion years.",
        "HUNDRED_MILLION_YEARS": "To the hundred million years.",
        "TEN_MILLION_YEARS": "To the ten million years.",
        "MILLION_YEARS": "To the million years.",
        "HUNDRED_THOUSAND_YEARS": "To the hundred thousand years.",
        "TEN_THOUSAND_YEARS": "To the ten thousand years.",
        "MILLENNIUM": "To the millennium.",
        "CENTURY": "To the century.",
        "DECADE": "To the decade.",
        "YEAR": "To the year.",
        "MONTH": "To the month.",
        "DAY": "To the day.",
    },
)
described(
    Calendar,
    "Calendar",
    "The calendar a source states a date in.",
    {
        "GREGORIAN": "Today's calendar, also for the time before it was introduced.",
        "JULIAN": "The calendar of Julius Caesar; the parts given here are converted to the Gregorian one.",
    },
)

_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_ERA_SHOWN_BEFORE = 1000
"""From here on a year needs no era to be read as one: "1844", but "65 CE"."""


def describe(date: dates.HistoricalDate) -> str:
    """Write a date as people do, no more exactly than it is known: "384 BCE", "5th century BCE", "15 October 1844"."""
    year = _year_in_words(date.year)
    match date.precision:
        case Precision.DAY:
            return f"{date.day} {_MONTHS[(date.month or 1) - 1]} {year}"
        case Precision.MONTH:
            return f"{_MONTHS[(date.month or 1) - 1]} {year}"
        case Precision.YEAR:
            return year
        case Precision.DECADE:
            return _decade_in_words(date.year)
        case Precision.CENTURY:
            return _counted(date.year, 100, "century")
        case Precision.MILLENNIUM:
            return _counted(date.year, 1000, "millennium")
    return _long_ago(date.year)


def _year_in_words(year: int) -> str:
    if year <= 0:
        return f"{1 - year} BCE"
    return f"{year} CE" if year < _ERA_SHOWN_BEFORE else str(year)


def _decade_in_words(year: int) -> str:
    start = year // 10 * 10
    if start >= 10:
        return f"{start}s" if start >= _ERA_SHOWN_BEFORE else f"{start}s CE"
    if start == 0:
        return "1 BCE to 9 CE"
    return f"{1 - start} to {1 - (start + 9)} BCE"


def _counted(year: int, span: int, name: str) -> str:
    number = ((year if year > 0 else 1 - year) - 1) // span + 1
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix} {name}" + ("" if year > 0 else " BCE")


def _long_ago(year: int) -> str:
    for power, name in ((9, "billion"), (6, "million")):
        if -year >= 10**power:
            return f"about {_six_digits(Decimal(-year).scaleb(-power))} {name} years ago"
    return f"about {1 - year:,} BCE" if year <= 0 else f"about {year:,} CE"


def _six_digits(number: Decimal) -> str:
    rounded = number.quantize(Decimal(1).scaleb(len(str(int(number))) - 6), ROUND_HALF_UP)
    return f"{rounded.normalize():f}"


ADate = strawberry.Parent[dates.HistoricalDate]


def _date(root: ADate) -> dates.HistoricalDate:
    return root


def _earliest(root: ADate) -> str:
    return format_date(*from_day_number(root.first))


def _latest(root: ADate) -> str:
    return format_date(*from_day_number(root.last))


def _text(root: ADate) -> str:
    return describe(root)


@strawberry.type(description="A date in history: known to the day or only to the century, back to the Big Bang.")
class HistoricalDate:
    """GraphQL's view of `db.dates.HistoricalDate`."""

    date: Date = mapped(_date, "The date, with 01 for a month or day that is not known.", ISO_DATE)
    year: Year = strawberry.field(description="The astronomical year: 1844, 0 for 1 BCE, -383 for 384 BCE.")
    month: int | None = strawberry.field(description="The month, 1 to 12; null when it is not known.")
    day: int | None = strawberry.field(description="The day of the month; null when it is not known.")
    precision: Precision = strawberry.field(description="How exactly the date is known.", metadata={SQL: PRECISION})
    calendar: Calendar = strawberry.field(
        description="The calendar its source states it in; all parts here are Gregorian whatever it is.",
        metadata={SQL: CALENDAR},
    )
    earliest: Date = mapped(_earliest, "The first day it may be, given its precision.", EARLIEST)
    latest: Date = mapped(_latest, "The last day it may be, given its precision.", LATEST)
    text: str = mapped(_text, 'In words: "384 BCE", "5th century BCE", "15 October 1844".', IN_WORDS)
