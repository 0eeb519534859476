"""What the query service is asked about Wikidata, in plain SPARQL 1.1, and how its terms are read.

https://www.mediawiki.org/wiki/Wikibase/Indexing/RDF_Dump_Format describes the triples.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from db.dates import Calendar, HistoricalDate, Precision
from db.errors import InvalidDateError
from etl.shards import hex_prefixes
from etl.wikidata import AUTHOR_PROPERTIES, CLASS_PROPERTIES, TIME_PROPERTIES

LINK_PROPERTIES = (*CLASS_PROPERTIES, *AUTHOR_PROPERTIES)

ENTITY = "http://www.wikidata.org/entity/"
DIRECT = "http://www.wikidata.org/prop/direct/"
MODIFIED = "http://schema.org/dateModified"
LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
DESCRIPTION = "http://schema.org/description"
DATE_TIME = "http://www.w3.org/2001/XMLSchema#dateTime"
JULIAN = "Q1985786"

_PREFIXES = f"""\
PREFIX wd: <{ENTITY}>
PREFIX wdt: <{DIRECT}>
PREFIX p: <http://www.wikidata.org/prop/>
PREFIX psv: <http://www.wikidata.org/prop/statement/value/>
PREFIX wikibase: <http://wikiba.se/ontology#>
PREFIX xsd: <http://www.w3.org/2001/XMLSchema#>
"""
_ITEM = re.compile(r"http://www\.wikidata\.org/entity/Q([1-9][0-9]{0,17})")


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose statements are asked for: those of instances of a class, of people of an occupation, of changed items."""

    classes: tuple[int, ...] = ()
    occupations: tuple[int, ...] = ()
    since: date | None = None

    @classmethod
    def build(cls, params: dict[str, Any]) -> "Scope":
        """Make a scope of what `params` returned."""
        since = params.get("since")
        return cls(
            tuple(params.get("classes", ())),
            tuple(params.get("occupations", ())),
            date.fromisoformat(since) if since else None,
        )

    def params(self) -> dict[str, Any]:
        """Return the scope as plain JSON, without what it does not limit."""
        since = {"since": self.since.isoformat()} if self.since else {}
        return {name: list(value) for name, value in asdict(self).items() if value and name != "since"} | since


def count_statements(property_id: str, path: str, scope: Scope) -> str:
    """Ask how many rows `select_statements` has."""
    return f"{_PREFIXES}SELECT (COUNT(*) AS ?n) WHERE {{{_statements(property_id, path, scope)}}}"


def select_statements(property_id: str, path: str, scope: Scope) -> str:
    """Ask for a property's best-ranked statements: subject ?s, value ?v.

    `path` is a part of hash space (see etl.shards) and limits the subjects to those whose hash is in it.
    """
    return f"{_PREFIXES}SELECT ?s ?v WHERE {{{_statements(property_id, path, scope)}}}"


def _statements(property_id: str, path: str, scope: Scope) -> str:
    lines = [f" ?s wdt:{property_id} ?v . "]
    if prefixes := hex_prefixes(path):
        begins = " || ".join(f'STRSTARTS(?hash, "{prefix}")' for prefix in prefixes)
        lines.append(f"BIND(MD5(STR(?s)) AS ?hash) FILTER({begins}) ")
    # EXISTS rather than a join: an instance of two of the classes must not give each of its rows twice.
    for property_of, numbers in (("P31", scope.classes), ("P106", scope.occupations)):
        if numbers:
            lines.append(f"FILTER EXISTS {{ VALUES ?of {{ {_items(numbers)} }} ?s wdt:{property_of} ?of }} ")
    if scope.since:
        begin = f'"{scope.since.isoformat()}T00:00:00Z"^^xsd:dateTime'
        lines.append(f"?s <{MODIFIED}> ?modified . FILTER(?modified >= {begin}) ")
    return "".join(lines)


def select_texts(numbers: Iterable[int], languages: Sequence[str]) -> str:
    """Ask for items' labels and descriptions (?p, ?v) in some languages."""
    wanted = ", ".join(f'"{language}"' for language in languages)
    filtered = f"FILTER(LANG(?v) IN ({wanted})) "
    return _select_of("?v", numbers, [_values_of(f"<{name}>") + filtered for name in (LABEL, DESCRIPTION)])


def select_all_labels(numbers: Iterable[int]) -> str:
    """Ask for items' labels in every language, as `select_texts` does."""
    return _select_of("?v", numbers, [_values_of(f"<{LABEL}>")])


def select_links(numbers: Iterable[int]) -> str:
    """Ask for what items are linked to (?p, ?v) by the properties that say what they are.

    The time of the last change comes with it: an item that has nothing else is there, one without it is not.
    """
    names = (f"<{MODIFIED}>", *(f"wdt:{name}" for name in LINK_PROPERTIES))
    return _select_of("?v", numbers, [_values_of(name) for name in names])


def select_times(numbers: Iterable[int]) -> str:
    """Ask for items' best-ranked dates: property ?p, ?time, ?precision, ?calendar.

    The plain values (wdt:) would not tell a year from its first of January.
    """
    ways = [
        f"?s p:{name} ?statement . ?statement a wikibase:BestRank ; psv:{name} ?value . "
        "?value wikibase:timeValue ?time ; wikibase:timePrecision ?precision ; wikibase:timeCalendarModel ?calendar . "
        f"BIND(wdt:{name} AS ?p) "
        for name in TIME_PROPERTIES
    ]
    return _select_of("?time ?precision ?calendar", numbers, ways)


def _values_of(predicate: str) -> str:
    return f"?s {predicate} ?v . BIND({predicate} AS ?p) "


def _select_of(variables: str, numbers: Iterable[int], ways: Iterable[str]) -> str:
    """Ask for ?s and ?p and more, in each of several ways.

    Oxigraph reads all there is of a predicate that comes from VALUES: with 30,000 items, 1.2 s against 0.016 s.
    """
    values = f"VALUES ?s {{ {_items(numbers)} }} "
    union = " UNION ".join(f"{{ {values}{way}}}" for way in ways)
    return f"{_PREFIXES}SELECT DISTINCT ?s ?p {variables} WHERE {{ {union} }}"


def _items(numbers: Iterable[int]) -> str:
    return " ".join(f"wd:Q{number}" for number in numbers)


def item_number(term: dict[str, str]) -> int | None:
    """Return the number of the item a term names, or None when it names none."""
    match = _ITEM.fullmatch(term["value"]) if term["type"] == "uri" else None
    return int(match.group(1)) if match else None


def is_unknown_value(term: dict[str, str]) -> bool:
    """Tell whether a term stands for a value that is said to exist and not known."""
    return term["type"] == "bnode" or "/.well-known/genid/" in term["value"]


def parse_date(term: dict[str, str], precision: int, calendar: str) -> HistoricalDate:
    """Read a date of the RDF export; `calendar` is the model's item id. Raises InvalidDateError.

    The export counts BCE years astronomically from a precision of a year on, but keeps the historical count for
    decades, centuries and millennia (Wikibase's DateTimeValueCleaner); what is coarser counts from no era. A date
    that names no day it leaves as a plain text.
    """
    if term.get("datatype") != DATE_TIME:
        raise InvalidDateError(f"{term['value'][:40]!r} names no day")
    model = Calendar.JULIAN if calendar == JULIAN else Calendar.GREGORIAN
    known_to = Precision(min(precision, Precision.DAY))
    found = HistoricalDate.parse(term["value"], known_to, model)
    if found.year < 0 and Precision.MILLENNIUM <= known_to < Precision.YEAR:
        return HistoricalDate.build(found.year + 1, None, None, known_to, model)
    return found
