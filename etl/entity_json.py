"""An entity as Wikidata's JSON gives it, read into an item.

The form is https://doc.wikimedia.org/Wikibase/master/php/docs_topics_json.html, in dumps and in API answers alike.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec

from db.dates import Calendar, HistoricalDate, Precision, days_in_month, julian_to_gregorian
from db.errors import InvalidDateError
from etl.source import RowError
from etl.wikidata import CLASS_PROPERTIES, RELATION_PROPERTIES, TIME_PROPERTIES, Item

LINK_PROPERTIES: tuple[str, ...] = tuple(dict.fromkeys((*CLASS_PROPERTIES, *RELATION_PROPERTIES)))
READ_PROPERTIES: tuple[str, ...] = (*LINK_PROPERTIES, *TIME_PROPERTIES)

_JULIAN = "Q1985786"
_TIME = re.compile(r"([+-])([0-9]{1,16})-([0-9]{2})-([0-9]{2})T.*")
_ITEM = re.compile(r"Q([1-9][0-9]{0,17})")


V = TypeVar("V")


class _Form(msgspec.Struct, gc=False):
    """A part of an entity: what is read of it. All else is passed over, which costs a fraction of making objects."""


class _Term(_Form):
    value: str


class _Value(_Form, Generic[V]):
    type: str
    value: V


class _Snak(_Form, Generic[V]):
    snaktype: str
    datavalue: _Value[V] | None = None


class _Statement(_Form, Generic[V]):
    mainsnak: _Snak[V]
    rank: str = "normal"


# PHP writes an empty map as an empty list.
_Terms = dict[str, _Term] | list[Any] | None


class _Entity(_Form):
    id: str
    type: str = "item"
    labels: _Terms = None
    descriptions: _Terms = None
    claims: dict[str, msgspec.Raw] | list[Any] | None = None
    missing: msgspec.Raw | None = None


class ItemValue(_Form):
    """Another entity; values written before 2016 have no `id`."""

    id: str | None = None
    entity_type: str = msgspec.field(name="entity-type", default="")
    numeric_id: int = msgspec.field(name="numeric-id", default=0)


class TimeValue(_Form):
    """A time as Wikibase keeps it."""

    time: str
    precision: int
    calendarmodel: str


_read_entity = msgspec.json.Decoder(_Entity).decode
_read_raw_statements = msgspec.json.Decoder(list[_Statement[msgspec.Raw]]).decode
_read_item_statements = msgspec.json.Decoder(list[_Statement[ItemValue]]).decode
_read_time_statements = msgspec.json.Decoder(list[_Statement[TimeValue]]).decode
_read_item = msgspec.json.Decoder(ItemValue).decode
_read_time = msgspec.json.Decoder(TimeValue).decode


@dataclass(slots=True)
class Reading:
    """An item as read, with what was left out of it.

    `unknown` counts best-ranked statements whose value is unknown or none; `bad_times` says of each time that names
    no day in which property it stands, what it is and why.
    """

    item: Item
    unknown: int = 0
    bad_times: list[RowError] = field(default_factory=list)


def parse(text: bytes) -> Reading | str:
    """Read an item's best-ranked statements, labels and descriptions from JSON; returns the type of what is no item.

    Raises RowError for what is no entity.
    """
    try:
        entity = _read_entity(text)
        # "missing" is the API's word for an id that names nothing.
        if entity.type != "item" or entity.missing is not None:
            return "missing" if entity.type == "item" else entity.type
        number = _item_number(entity.id)
        if number is None:
            raise RowError("not an item", "id", entity.id)
        reading = Reading(Item(number, _texts(entity.labels), _texts(entity.descriptions)))
        if isinstance(entity.claims, dict):
            for property_id, statements in entity.claims.items():
                if read := _READERS.get(property_id):
                    read(reading, property_id, statements)
    except msgspec.ValidationError as error:
        raise RowError(f"not an entity as Wikidata writes it: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RowError(f"not JSON: {error}") from error
    return reading


def excerpt(entity: Mapping[str, Any], languages: Sequence[str]) -> dict[str, Any]:
    """Return the part of an entity that `parse` reads, in the languages given and all others if it has none of them."""
    return {
        "id": entity["id"],
        "labels": _in_languages(entity.get("labels"), languages),
        "descriptions": _in_languages(entity.get("descriptions"), languages),
        "claims": {name: value for name, value in (entity.get("claims") or {}).items() if name in READ_PROPERTIES},
    }


def parse_time(value: TimeValue) -> HistoricalDate:
    """Read a time value; raises InvalidDateError when it names no day.

    Years before the common era are historical here (384 BCE is -0384). Numbers known to ten thousand years at best
    are kept as they are: they count from no era. A Julian day is converted; what is coarser cannot be, and keeps its
    parts, as in Wikibase's RDF export.
    """
    return _time(value.time, min(value.precision, Precision.DAY), value.calendarmodel.endswith(_JULIAN))


# The dates of a dump are the same few ten thousand again and again.
@lru_cache(maxsize=1 << 16)
def _time(text: str, precision_number: int, is_julian: bool) -> HistoricalDate:
    match = _TIME.fullmatch(text)
    precision = Precision(precision_number)
    if not match:
        raise InvalidDateError(f"{text[:40]!r} is not a time as Wikidata writes it")
    sign, digits, month_digits, day_digits = match.groups()
    year, month, day = int(digits), int(month_digits), int(day_digits)
    if year == 0:
        raise InvalidDateError("there is no year 0 in Wikidata's JSON")
    if sign == "-":
        year = 1 - year if precision >= Precision.MILLENNIUM else -year
    if is_julian and precision is Precision.DAY:
        _check_julian(year, month, day)
        year, month, day = julian_to_gregorian(year, month, day)
    calendar = Calendar.JULIAN if is_julian else Calendar.GREGORIAN
    return HistoricalDate.build(year, month or None, day or None, precision, calendar)


def _check_julian(year: int, month: int, day: int) -> None:
    if not 1 <= month <= 12:
        raise InvalidDateError(f"month {month} of year {year} does not exist: expected 1 to 12")
    # Year 4 is a leap year in both calendars: only the Julian has one every fourth year.
    if not 1 <= day <= days_in_month(4 if year % 4 == 0 else 1, month):
        raise InvalidDateError(f"day {day} of {year}-{month:02d} does not exist in the Julian calendar")


def _texts(terms: _Terms) -> dict[str, str]:
    return {language: term.value for language, term in terms.items()} if isinstance(terms, dict) else {}


def _in_languages(terms: Any, languages: Sequence[str]) -> dict[str, Any]:
    kept = {language: terms[language] for language in languages if language in terms} if terms else {}
    return kept or dict(terms or {})


def _best_values(reading: Reading, statements: Sequence[_Statement[V]], kind: str) -> list[V]:
    """Return the known values of a kind: of the preferred statements, or of the normal ones when there are none."""
    best = [one for one in statements if one.rank == "preferred"]
    values = []
    for one in best or [one for one in statements if one.rank == "normal"]:
        snak = one.mainsnak
        if snak.snaktype != "value":
            reading.unknown += 1
        elif snak.datavalue is None:
            raise RowError("not an entity as Wikidata writes it: a snak of the type value without a datavalue")
        elif snak.datavalue.type == kind:
            values.append(snak.datavalue.value)
    return values


def _read_values(
    reading: Reading,
    text: msgspec.Raw,
    kind: str,
    read_statements: Callable[[msgspec.Raw], list[_Statement[V]]],
    read_value: Callable[[msgspec.Raw], V],
) -> list[V]:
    """Return the best values of a kind, which are read with their statements where all of those are of it."""
    try:
        statements = read_statements(text)
    except msgspec.ValidationError:
        # Values of other kinds are passed over, whatever their form.
        return [read_value(value) for value in _best_values(reading, _read_raw_statements(text), kind)]
    return _best_values(reading, statements, kind)


def _read_links(reading: Reading, property_id: str, text: msgspec.Raw) -> None:
    # A dictionary keeps the order, and each number once.
    found: dict[int, None] = {}
    for value in _read_values(reading, text, "wikibase-entityid", _read_item_statements, _read_item):
        key = value.id
        if key is None:
            key = f"Q{value.numeric_id}" if value.entity_type == "item" else ""
        if (number := _item_number(key)) is not None:
            found[number] = None
    if found:
        reading.item.links[property_id] = list(found)


def _item_number(text: str) -> int | None:
    match = _ITEM.fullmatch(text)
    return int(match[1]) if match else None


def _read_times(reading: Reading, property_id: str, text: msgspec.Raw) -> None:
    dates = []
    for value in _read_values(reading, text, "time", _read_time_statements, _read_time):
        try:
            dates.append(parse_time(value))
        except (InvalidDateError, ValueError) as error:
            reading.bad_times.append(RowError(str(error), property_id, value.time))
    if dates:
        reading.item.times[property_id] = dates


_READERS = dict.fromkeys(LINK_PROPERTIES, _read_links) | dict.fromkeys(TIME_PROPERTIES, _read_times)
