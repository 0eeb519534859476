"""Dates and times in SQL, written exactly as `db.dates`, `graph.dates` and the scalar DateTime write them."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, literal_column

from db.dates import Calendar, Precision
from graph.compiled.mapping import Part, Plain, Row, Value

_YEAR = (
    "CASE WHEN {year} <= 0 THEN (1 - {year}) || ' BCE' WHEN {year} < 1000 THEN {year} || ' CE' ELSE {year}::text END"
)
_MONTH = (
    "('{{January,February,March,April,May,June,July,August,September,October,November,December}}'::text[])"
    "[coalesce(nullif({month}, 0), 1)]"
)
_DECADE = """(
    SELECT CASE WHEN start >= 1000 THEN start || 's' WHEN start >= 10 THEN start || 's CE'
        WHEN start = 0 THEN '1 BCE to 9 CE' ELSE (1 - start) || ' to ' || (-8 - start) || ' BCE' END
    FROM (SELECT {year} - (({year} % 10) + 10) % 10 AS start) AS decade
)"""
_COUNTED = """(
    SELECT number || CASE WHEN number % 100 IN (11, 12, 13) THEN 'th'
        ELSE CASE number % 10 WHEN 1 THEN 'st' WHEN 2 THEN 'nd' WHEN 3 THEN 'rd' ELSE 'th' END END
        || ' SPAN_NAME' || CASE WHEN {year} > 0 THEN '' ELSE ' BCE' END
    FROM (SELECT ((CASE WHEN {year} > 0 THEN {year} ELSE 1 - {year} END) - 1) / SPAN_YEARS + 1 AS number) AS span
)"""
_LONG_AGO = """CASE
    WHEN {year} <= -1000000000 THEN 'about ' || (
        SELECT trim_scale(round(size, 6 - length(trunc(size)::text))) FROM (SELECT -{year} * 0.000000001 AS size) AS s
    ) || ' billion years ago'
    WHEN {year} <= -1000000 THEN 'about ' || (
        SELECT trim_scale(round(size, 6 - length(trunc(size)::text))) FROM (SELECT -{year} * 0.000001 AS size) AS s
    ) || ' million years ago'
    WHEN {year} <= 0 THEN 'about ' || to_char(1 - {year}, 'FM999,999,999,999') || ' BCE'
    ELSE 'about ' || to_char({year}, 'FM999,999,999,999') || ' CE' END"""
_WORDS = f"""CASE coalesce({{precision}}, 0)
    WHEN {Precision.DAY:d} THEN {{day}} || ' ' || {_MONTH} || ' ' || {_YEAR}
    WHEN {Precision.MONTH:d} THEN {_MONTH} || ' ' || {_YEAR}
    WHEN {Precision.YEAR:d} THEN {_YEAR}
    WHEN {Precision.DECADE:d} THEN {_DECADE}
    WHEN {Precision.CENTURY:d} THEN {_COUNTED.replace("SPAN_NAME", "century").replace("SPAN_YEARS", "100")}
    WHEN {Precision.MILLENNIUM:d} THEN {_COUNTED.replace("SPAN_NAME", "millennium").replace("SPAN_YEARS", "1000")}
    ELSE {_LONG_AGO} END"""
_ISO = (
    "CASE WHEN {year} < 0 THEN '-' WHEN {year} > 9999 THEN '+' ELSE '' END"
    " || CASE WHEN abs({year}) > 9999 THEN abs({year})::text ELSE lpad(abs({year})::text, 4, '0') END"
    " || '-' || lpad(({month})::text, 2, '0') || '-' || lpad(({day})::text, 2, '0')"
)
_STATED = {"month": "coalesce(nullif({month}, 0), 1)", "day": "coalesce(nullif({day}, 0), 1)"}
# Days are counted from 1 March of a year that begins a cycle of 400 (146,097 days), so many cycles ago that every
# number is positive; in such a year the months' lengths follow a formula.
_CYCLES = 60_000_000
_FROM_DAY = """(
    SELECT ISO FROM (
        SELECT yoe + (cycle - CYCLES) * 400 + (CASE WHEN mp < 10 THEN 0 ELSE 1 END) AS y,
            CASE WHEN mp < 10 THEN mp + 3 ELSE mp - 9 END AS m, doy - (153 * mp + 2) / 5 + 1 AS d
        FROM (SELECT *, (5 * doy + 2) / 153 AS mp FROM (
            SELECT *, doc - (365 * yoe + yoe / 4 - yoe / 100) AS doy FROM (
                SELECT *, (doc - doc / 1460 + doc / 36524 - doc / 146096) / 365 AS yoe FROM (
                    SELECT z / 146097 AS cycle, z % 146097 AS doc
                    FROM (SELECT {number} + 305 + 146097 * CYCLES::bigint AS z) AS a
                ) AS b
            ) AS c
        ) AS e) AS f
    ) AS g
)""".replace("ISO", _ISO.format(year="y", month="m", day="d")).replace("CYCLES", str(_CYCLES))


def _names(enum: type[Precision] | type[Calendar]) -> str:
    return f"'{{{{{','.join(one.name for one in enum)}}}}}'::text[]"


def _value(template: str, *names: str) -> Value:
    """Return the mapping of an expression over columns, which stand in it by name."""

    def sql(row: Row, _request: Any) -> ColumnElement[Any]:
        return literal_column(f"({template.format(**{name: row[name] for name in names})})", Plain)

    return Value(sql)


def _exists(row: Row) -> ColumnElement[bool]:
    return row["year"].is_not(None) & row["first"].is_not(None) & row["last"].is_not(None)


ISO_DATE = _value(_ISO.format(year="{year}", **_STATED), "year", "month", "day")
EARLIEST = _value(_FROM_DAY.replace("{number}", "{first}"), "first")
LATEST = _value(_FROM_DAY.replace("{number}", "{last}"), "last")
IN_WORDS = _value(_WORDS, "year", "month", "day", "precision")
PRECISION = _value(f"({_names(Precision)})[coalesce({{precision}}, 0) + 1]", "precision")
CALENDAR = _value(f"({_names(Calendar)})[coalesce({{calendar}}, 0) + 1]", "calendar")


def date_object(prefix: str) -> Part:
    """Return the mapping of a HistoricalDate whose columns begin with a prefix."""
    return Part(lambda row: row.part(prefix), lambda row: _exists(row.part(prefix)))


def date_text(prefix: str) -> Value:
    """Return the mapping of a Date whose columns begin with a prefix."""

    def sql(row: Row, request: Any) -> ColumnElement[Any]:
        part = row.part(prefix)
        condition = " AND ".join(f"{part[name]} IS NOT NULL" for name in ("year", "first", "last"))
        return literal_column(f"CASE WHEN {condition} THEN {ISO_DATE.sql(part, request)} END", Plain)

    return Value(sql)


def year_of(name: str) -> Value:
    """Return the mapping of a column with a year."""
    return Value(lambda row, _: literal_column(str(row[name]), BigInteger))


def time_text(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Write a time as Python does, in UTC."""
    # To round to seconds, and to take nothing away, is far cheaper than `date_trunc` and a time zone by name.
    is_whole = f"{column} = {column}::timestamptz(0)"
    form = (
        f"""CASE WHEN {is_whole} THEN 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"' ELSE 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"' END"""
    )
    return literal_column(f"to_char({column} AT TIME ZONE interval '0', {form})", Plain)


def time_of(name: str) -> Value:
    """Return the mapping of a column with a time."""
    return Value(lambda row, _: time_text(row[name]))
