"""Entities in Wikidata's JSON, as the triples that Wikibase's RDF export makes of them.

https://www.mediawiki.org/wiki/Wikibase/Indexing/RDF_Dump_Format; dates as Wikibase's JulianDateTimeValueCleaner and
DateTimeValueCleaner write them.
"""

import hashlib
import re
from calendar import monthrange
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

ENTITY = "http://www.wikidata.org/entity/"
PROPERTY = "http://www.wikidata.org/prop/"
ONTOLOGY = "http://wikiba.se/ontology#"
XSD = "http://www.w3.org/2001/XMLSchema#"
A = "<http://www.w3.org/1999/02/22-rdf-syntax-ns#type>"
GREGORIAN, JULIAN = f"{ENTITY}Q1985727", f"{ENTITY}Q1985786"
YEAR, MONTH, DAY = 9, 10, 11

Json = Mapping[str, Any]


def lines(entities: Iterable[Json]) -> Iterator[str]:
    """Yield the triples of entities, a line of N-Triples each."""
    for entity in entities:
        yield from triples(entity)


def triples(entity: Json) -> Iterator[str]:
    """Yield an entity's triples, a line of N-Triples each."""
    subject = f"<{ENTITY}{entity['id']}>"
    modified = entity.get("modified", "2020-01-01T00:00:00Z")
    yield _triple(subject, "<http://schema.org/dateModified>", _literal(modified, datatype=f"{XSD}dateTime"))
    for name, predicate in (
        ("labels", "<http://www.w3.org/2000/01/rdf-schema#label>"),
        ("descriptions", "<http://schema.org/description>"),
    ):
        for language, term in (entity.get(name) or {}).items():
            yield _triple(subject, predicate, _literal(term["value"], language=language))
    for property_id, statements in (entity.get("claims") or {}).items():
        best = _best(statements)
        for number, statement in enumerate(statements):
            node = f"<{ENTITY}statement/{entity['id']}-{property_id}-{number}>"
            yield from _statement(subject, node, property_id, statement, any(statement is one for one in best))


def _best(statements: Sequence[Json]) -> list[Json]:
    by_rank: dict[str, list[Json]] = {}
    for statement in statements:
        by_rank.setdefault(statement.get("rank", "normal"), []).append(statement)
    return by_rank.get("preferred") or by_rank.get("normal") or []


def _statement(subject: str, node: str, property_id: str, statement: Json, is_best: bool) -> Iterator[str]:
    snak = statement["mainsnak"]
    rank = statement.get("rank", "normal").capitalize()
    yield _triple(subject, f"<{PROPERTY}{property_id}>", node)
    yield _triple(node, f"<{ONTOLOGY}rank>", f"<{ONTOLOGY}{rank}Rank>")
    if is_best:
        yield _triple(node, A, f"<{ONTOLOGY}BestRank>")
    if snak["snaktype"] == "novalue":
        yield _triple(node, A, f"<{PROPERTY}novalue/{property_id}>")
        return
    unknown = f"<http://www.wikidata.org/.well-known/genid/{_digest(node)}>"
    value = unknown if snak["snaktype"] == "somevalue" else _value(snak["datavalue"])
    if value is None:
        return
    yield _triple(node, f"<{PROPERTY}statement/{property_id}>", value)
    if is_best:
        yield _triple(subject, f"<{PROPERTY}direct/{property_id}>", value)
    if snak["snaktype"] == "value" and snak["datavalue"]["type"] == "time":
        time = snak["datavalue"]["value"]
        of = f"<http://www.wikidata.org/value/{_digest(orjson.dumps(time).decode())}>"
        yield _triple(node, f"<{PROPERTY}statement/value/{property_id}>", of)
        yield _triple(of, f"<{ONTOLOGY}timeValue>", value)
        precision = _literal(str(time["precision"]), datatype=f"{XSD}integer")
        yield _triple(of, f"<{ONTOLOGY}timePrecision>", precision)
        yield _triple(of, f"<{ONTOLOGY}timeCalendarModel>", f"<{time['calendarmodel'].replace('https:', 'http:')}>")


def _value(datavalue: Json) -> str | None:
    """Write an item, a text or a time; other kinds of value are of no use to the tests."""
    value = datavalue["value"]
    match datavalue["type"]:
        case "wikibase-entityid":
            return f"<{ENTITY}{value.get('id') or 'Q' + str(value['numeric-id'])}>"
        case "string":
            return _literal(value)
        case "time":
            written = export_time(value)
            return _literal(value["time"]) if written is None else _literal(written, datatype=f"{XSD}dateTime")
    return None


def export_time(value: Json) -> str | None:
    """Return the xsd:dateTime that Wikibase makes of a time value, or None when it can make none."""
    match = re.fullmatch(r"([+-])(\d+)-(\d\d)-(\d\d)T(.*)", value["time"])
    assert match
    sign, year, month, day, clock = match[1], int(match[2]), int(match[3]), int(match[4]), match[5]
    if year == 0:
        return None
    precision = value["precision"]
    if value["calendarmodel"].endswith("Q1985786") and precision >= DAY:
        year, month, day = _gregorian(year if sign == "+" else 1 - year, month, day)
        return f"{_year(year)}-{month:02}-{day:02}T{clock}"
    if precision < DAY:
        day = 1
    if precision < MONTH:
        month = 1
    month, day = min(max(month, 1), 12), max(day, 1)
    # The Gregorian calendar repeats itself every 400 years.
    day = min(day, monthrange(2000 + year % 400, month)[1])
    if sign == "+":
        return f"{_year(year)}-{month:02}-{day:02}T{clock}"
    return f"{_year(1 - year if precision >= YEAR else -year)}-{month:02}-{day:02}T{clock}"


def _year(year: int) -> str:
    return f"{'-' if year < 0 else ''}{abs(year):04}"


def _gregorian(year: int, month: int, day: int) -> tuple[int, int, int]:
    """Convert a Julian day by way of its Julian day number (E. G. Richards, Mapping Time, 1998)."""
    shifted, months = year + 4800 - (14 - month) // 12, month + 12 * ((14 - month) // 12) - 3
    number = day + (153 * months + 2) // 5 + 365 * shifted + shifted // 4 - 32083
    a = number + 32044
    b = (4 * a + 3) // 146097
    c = a - 146097 * b // 4
    d = (4 * c + 3) // 1461
    e = c - 1461 * d // 4
    m = (5 * e + 2) // 153
    return 100 * b + d - 4800 + m // 10, m + 3 - 12 * (m // 10), e - (153 * m + 2) // 5 + 1


def _literal(text: str, language: str | None = None, datatype: str | None = None) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"' + (f"@{language}" if language else f"^^<{datatype}>" if datatype else "")


def _triple(subject: str, predicate: str, value: str) -> str:
    return f"{subject} {predicate} {value} .\n"


def _digest(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()
