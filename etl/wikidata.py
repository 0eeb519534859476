"""What Wikidata's statements mean in the atlas: the mapping, the kinds, and the records made from an item.

Both ways of reading Wikidata, the query service and the dump, end here, so that they fill the same tables.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from db.dates import HistoricalDate
from db.models.atlas import Kind, RelationshipType
from etl.facts import EntityRecord
from etl.source import DatasetTerms
from etl.staging import StagedRow

DATASET = "wikidata"
DEFAULT_LANGUAGES = ("en", "mul")

WIKIDATA = DatasetTerms(
    name=DATASET,
    title="Wikidata",
    url="https://www.wikidata.org/",
    licence="CC0 1.0",
    licence_url="https://creativecommons.org/publicdomain/zero/1.0/",
    attribution="Wikidata contributors",
)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a property says: the edge it makes from a statement "subject property value".

    `leads` tells which side comes first: "value" when the value led to the subject ("influenced by"), "subject" when
    the subject led to the value ("notable work"). A derived edge is our conclusion rather than the statement itself,
    and is drawn only between two entities of the kind `joins`. `subject` and `value` are the kinds presumed of those
    that are only mentioned.
    """

    property_id: str
    meaning: str
    type: RelationshipType
    leads: str
    confidence: float
    subject: Kind
    value: Kind
    joins: Kind | None = None

    @property
    def derived(self) -> bool:
        """Whether the edge is concluded from the statement; all that ask for a kind are."""
        return self.joins is not None


_T = RelationshipType
_A, _W, _C = Kind.AGENT, Kind.WORK, Kind.CONCEPT

RULES: tuple[Rule, ...] = (
    Rule("P737", "influenced by", _T.INFLUENCED, "value", 0.9, _A, _A),
    Rule("P941", "inspired by", _T.INFLUENCED, "value", 0.85, _W, _W),
    Rule("P144", "based on", _T.BUILT_ON, "value", 0.9, _W, _W),
    Rule("P4969", "derivative work", _T.DERIVED_FROM, "subject", 0.9, _W, _W),
    Rule("P2283", "uses", _T.BUILT_ON, "value", 0.6, _C, _C),
    Rule("P279", "subclass of", _T.PREREQUISITE_FOR, "value", 0.5, _C, _C, joins=_C),
    Rule("P527", "has part", _T.PREREQUISITE_FOR, "value", 0.45, _C, _C, joins=_C),
    Rule("P1269", "facet of", _T.PREREQUISITE_FOR, "value", 0.35, _C, _C, joins=_C),
    Rule("P361", "part of", _T.PART_OF, "subject", 0.8, _C, _C),
    Rule("P527", "has part", _T.PART_OF, "value", 0.8, _C, _C),
    Rule("P155", "follows", _T.SUCCEEDED_BY, "value", 0.8, _C, _C),
    Rule("P1365", "replaces", _T.SUCCEEDED_BY, "value", 0.8, _C, _C),
    Rule("P156", "followed by", _T.SUCCEEDED_BY, "subject", 0.8, _C, _C),
    Rule("P1366", "replaced by", _T.SUCCEEDED_BY, "subject", 0.8, _C, _C),
    Rule("P61", "discoverer or inventor", _T.INVENTED_BY, "value", 0.95, _C, _A),
    Rule("P178", "developer", _T.INVENTED_BY, "value", 0.8, _W, _A),
    Rule("P112", "founded by", _T.INVENTED_BY, "value", 0.8, _A, _A),
    Rule("P184", "doctoral advisor", _T.TAUGHT, "value", 0.95, _A, _A),
    Rule("P1066", "student of", _T.TAUGHT, "value", 0.95, _A, _A),
    Rule("P185", "doctoral student", _T.TAUGHT, "subject", 0.9, _A, _A),
    Rule("P802", "student", _T.TAUGHT, "subject", 0.9, _A, _A),
    Rule("P828", "has cause", _T.CAUSED, "value", 0.85, _C, _C),
    Rule("P1478", "has immediate cause", _T.CAUSED, "value", 0.9, _C, _C),
    Rule("P1479", "has contributing factor", _T.CAUSED, "value", 0.6, _C, _C),
    Rule("P1542", "has effect", _T.CAUSED, "subject", 0.85, _C, _C),
    Rule("P1536", "immediate cause of", _T.CAUSED, "subject", 0.9, _C, _C),
    Rule("P1537", "contributing factor of", _T.CAUSED, "subject", 0.6, _C, _C),
    Rule("P138", "named after", _T.NAMED_AFTER, "value", 0.3, _C, _A),
    Rule("P101", "field of work", _T.ASSOCIATED_WITH, "subject", 0.7, _A, _C),
    Rule("P921", "main subject", _T.ASSOCIATED_WITH, "subject", 0.7, _W, _C),
    Rule("P800", "notable work", _T.ASSOCIATED_WITH, "subject", 0.7, _A, _W),
)
"""The mapping: a line a property and edge type. Change it here, and both ways of reading Wikidata follow."""

AUTHOR_PROPERTIES = ("P50", "P170")
"""author, creator: they make authorships rather than edges."""


def provenance_of(properties: Collection[str]) -> tuple[str, ...]:
    """Return the provenance of what all statements of some properties make; see `Source.speaks_for`."""
    authorship = (f"{DATASET}/authorship",) if set(AUTHOR_PROPERTIES) <= set(properties) else ()
    edges = (f"{DATASET}/{one}" for one in properties if one not in AUTHOR_PROPERTIES)
    return (*dict.fromkeys(edges), *authorship)


RELATION_PROPERTIES: tuple[str, ...] = (*dict.fromkeys(rule.property_id for rule in RULES), *AUTHOR_PROPERTIES)
"""Every property that joins two items, in the order of the mapping."""

INSTANCE_OF, SUBCLASS_OF, OCCUPATION, FIELD_OF_WORK, STUDIED_BY = "P31", "P279", "P106", "P101", "P2579"
CLASS_PROPERTIES = (INSTANCE_OF, SUBCLASS_OF, OCCUPATION, FIELD_OF_WORK, STUDIED_BY)
"""Properties whose values say what an item is."""

BIRTH, DEATH, INCEPTION, DISCOVERY, DISSOLUTION, PUBLICATION = "P569", "P570", "P571", "P575", "P576", "P577"
TIME_PROPERTIES = (BIRTH, DEATH, INCEPTION, DISCOVERY, DISSOLUTION, PUBLICATION)

_START = {Kind.AGENT: (BIRTH, INCEPTION), Kind.WORK: (PUBLICATION, INCEPTION), Kind.CONCEPT: (INCEPTION, DISCOVERY)}
_END = {Kind.AGENT: (DEATH, DISSOLUTION), Kind.WORK: (), Kind.CONCEPT: (DISSOLUTION,)}

BEINGS = frozenset({5, 15632617, 4271324, 22989102, 178885, 20643955, 21070568})
"""human, fictional human, mythical character, Greek deity, deity, human biblical figure, human whose existence is
disputed: an instance is an agent."""

GROUPS = frozenset({43229, 16334295, 31855, 3918, 4830453, 783794, 6881511, 7210356, 163740, 2385804, 41710, 327333})
"""organization, group of humans, research institute, university, business, company, enterprise, political
organization, non-profit, educational institution, ethnic group, government agency: an instance is an agent."""

WORK_CLASSES = frozenset(
    {386724, 838948, 7725634, 47461344, 571, 3305213, 860861, 93184, 11424, 5398426, 482994, 7366, 105543609, 207628}
    | {13442814, 25379, 49848, 7397, 8261, 5185279, 35760, 179461, 23622, 1371849, 3331189, 732577, 191067, 1980247}
)
"""work, work of art, literary work, written work, book, painting, sculpture, drawing, film, series, album, song,
musical work, composition, scholarly article, play, document, software, novel, poem, essay, religious text,
dictionary, body of text, edition, publication, article, chapter: an instance is a work."""


@dataclass(slots=True)
class Item:
    """What is read of a Wikidata item: the best-ranked values only, unknown ones left out.

    labels and descriptions by language; times by property; links by property to item numbers. Dates are Gregorian
    with astronomical years, whatever the form they were read in.
    """

    number: int
    labels: dict[str, str] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    times: dict[str, list[HistoricalDate]] = field(default_factory=dict)
    links: dict[str, list[int]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The item's public id."""
        return f"Q{self.number}"


def kind_of(item: Item) -> Kind:
    """Tell what an item is, from its own statements alone.

    In this order: an instance of a being, or something with an occupation, birth or death, is an agent; what is a
    subclass of something is a concept; an instance of a group is an agent; an instance of a class of works, or what
    has an author, creator or publication date, is a work; all else is a concept.
    """
    links, times = item.links, item.times
    classes = links.get(INSTANCE_OF, ())
    if not BEINGS.isdisjoint(classes) or OCCUPATION in links or BIRTH in times or DEATH in times:
        return Kind.AGENT
    if SUBCLASS_OF in links:
        return Kind.CONCEPT
    if not GROUPS.isdisjoint(classes):
        return Kind.AGENT
    if not WORK_CLASSES.isdisjoint(classes) or PUBLICATION in times or any(p in links for p in AUTHOR_PROPERTIES):
        return Kind.WORK
    return Kind.CONCEPT


class Summary(NamedTuple):
    """What an item says of itself; disciplines, field and work types are the numbers of items, ascending."""

    kind: Kind
    name: str | None
    labels: dict[str, str]
    description: str | None
    disciplines: Sequence[int]
    fields: Sequence[int]
    work_types: Sequence[int]
    start: HistoricalDate | None
    end: HistoricalDate | None


def summarise(item: Item, languages: Sequence[str]) -> Summary:
    """Read an item's statements about itself; its name is in the first of the languages it has, else in any."""
    kind, links = kind_of(item), item.links
    labels = _kept_labels(item.labels, item.key, languages)
    what = links.get(FIELD_OF_WORK, []) + links.get(OCCUPATION, []) if kind is Kind.AGENT else []
    return Summary(
        kind,
        next(iter(labels.values()), None),
        labels,
        next((item.descriptions[one] for one in languages if one in item.descriptions), None),
        sorted(set(what)),
        sorted(set(links.get(STUDIED_BY, ()))) if kind is Kind.CONCEPT else (),
        sorted(set(links.get(INSTANCE_OF, ()))) if kind is Kind.WORK else (),
        _best(item, _START[kind]),
        _best(item, _END[kind]),
    )


def describe(item: Item, languages: Sequence[str] = DEFAULT_LANGUAGES) -> EntityRecord:
    """Make an item's entity, named in the first of the languages it has, else in any."""
    summary = summarise(item, languages)
    return EntityRecord(
        key=item.key,
        kind=summary.kind,
        dataset=DATASET,
        name=summary.name,
        labels=summary.labels,
        description=summary.description,
        discipline_keys=_keys(summary.disciplines),
        field_keys=_keys(summary.fields),
        work_type_keys=_keys(summary.work_types),
        start=summary.start,
        end=summary.end,
    )


def _kept_labels(labels: Mapping[str, str], key: str, languages: Sequence[str]) -> dict[str, str]:
    """Keep the labels in the languages asked for, in their order, or the first by language code; an id is no label."""
    kept = {language: label for language in languages if (label := labels.get(language)) and label != key}
    if kept:
        return kept
    real = sorted(language for language, label in labels.items() if label and label != key)
    return {language: labels[language] for language in real[:1]}


def _keys(numbers: Sequence[int]) -> tuple[str, ...]:
    return tuple([f"Q{number}" for number in numbers])


def _best(item: Item, properties: Sequence[str]) -> HistoricalDate | None:
    """Choose the most precise date of the first property that has any, the earliest among equals."""
    for name in properties:
        if dates := item.times.get(name):
            return min(dates, key=lambda date: (-date.precision, date.first, date.last)) if dates[1:] else dates[0]
    return None


def relate(subject: int, property_id: str, value: int) -> list[StagedRow]:
    """Make the rows of one statement between two items: mentions of both, and edges or an authorship.

    A statement that an item makes about itself makes nothing. The rows are built as AtlasLoad stages records, without
    the records: items' numbers and the mapping leave nothing to be checked.
    """
    if subject == value:
        return []
    subject_kind, value_kind, edges = STATEMENT_FORMS[property_id]
    rows = [mention(subject, subject_kind), mention(value, value_kind)]
    if not edges:
        rows.append(StagedRow("authorship", (subject, value, DATASET)))
    for rule, joins, head, tail in edges:
        source, target = (value, subject) if rule.leads == "value" else (subject, value)
        provenance = f"{head}{subject}{tail}"
        edge = (joins, source, rule.type.value, target, rule.confidence, rule.derived, None, provenance)
        rows.append(StagedRow("influence", edge))
    return rows


def mention(number: int, kind: Kind) -> StagedRow:
    """Make the row of an item that a statement names."""
    return StagedRow("mention", (number, f"Q{number}", kind.value, DATASET, None, None))


EdgeForm = tuple[Rule, str | None, str, str]
"""A rule with what its edges have in common: the kind they join, and the provenance around the subject's number."""


def _edge_form(rule: Rule) -> EdgeForm:
    statement = f'"confidence":{rule.confidence},"derived":{"true" if rule.derived else "false"},"statement":"Q'
    # The statement is named by its place on the subject's page.
    tail = f'#{rule.property_id}"}}}}'
    joins = rule.joins.value if rule.joins else None
    return rule, joins, f'{{"{DATASET}/{rule.property_id}":{{{statement}', tail


STATEMENT_FORMS: dict[str, tuple[Kind, Kind, list[EdgeForm]]] = {
    property_id: (_W, _A, []) for property_id in AUTHOR_PROPERTIES
}
"""By property: the kinds presumed of subject and value, and the edges it makes; none make an authorship."""
for _rule in RULES:
    STATEMENT_FORMS.setdefault(_rule.property_id, (_rule.subject, _rule.value, []))[2].append(_edge_form(_rule))
