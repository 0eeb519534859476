"""What the query service's answers say: as raw rows, and from a raw row back to an item."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from db.errors import InvalidDateError
from etl.source import RawRow
from etl.sparql import Binding
from etl.wikidata import Item
from etl.wikidata_queries import DIRECT, LABEL, MODIFIED, is_unknown_value, item_number, parse_date

STATEMENTS = "wikidata/statements"
ENTITIES = "wikidata/entities"
DATES = "wikidata/dates"
"""Dates that name no day: each is a row of its own, so that its item is not lost with it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows that a piece of work gave and what it left out, by reason; or why there are none."""

    rows: Sequence[RawRow] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    problem: str | None = None


def statement_rows(property_id: str, bindings: Iterable[Binding]) -> Answer:
    """Make a row of each statement between two items, in the order of the subjects' hashes.

    That order is the same however hash space was cut into shards.
    """
    found: list[tuple[str, int, int]] = []
    left_out: Counter[str] = Counter()
    for binding in bindings:
        subject, value = item_number(binding["s"]), item_number(binding["v"])
        if subject is not None and value is not None:
            found.append((hashlib.md5(binding["s"]["value"].encode()).hexdigest(), subject, value))
        else:
            left_out["unknown values" if is_unknown_value(binding["v"]) else "statements not between items"] += 1
    rows = [
        RawRow.from_json(
            STATEMENTS,
            f"Q{subject}#{property_id} > Q{value}",
            {"subject": subject, "property": property_id, "value": value},
        )
        for _, subject, value in sorted(found)
    ]
    return Answer(rows, left_out)


@dataclass(slots=True)
class _Draft:
    """An item as far as it is read; each time is [text, precision, item of the calendar]."""

    labels: dict[str, str] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    links: dict[str, set[int]] = field(default_factory=dict)
    times: dict[str, list[list[Any]]] = field(default_factory=dict)
    bad_times: list[dict[str, Any]] = field(default_factory=list)


class Drafts:
    """Items that are read together: first their links, which tell which of them exist, then the rest."""

    def __init__(self, links: Iterable[Binding]) -> None:
        self._drafts: dict[int, _Draft] = {}
        for binding in links:
            draft = self._drafts.setdefault(_number(binding), _Draft())
            linked = item_number(binding["v"])
            if binding["p"]["value"] != MODIFIED and linked is not None:
                draft.links.setdefault(_property(binding), set()).add(linked)

    @property
    def present(self) -> list[int]:
        """The numbers of the items that exist, in order."""
        return sorted(self._drafts)

    def nameless(self) -> list[int]:
        """Return the items whose labels are all missing, or no more than their ids."""
        return [
            number
            for number, draft in sorted(self._drafts.items())
            if all(label == f"Q{number}" for label in draft.labels.values())
        ]

    def add_texts(self, bindings: Iterable[Binding]) -> None:
        """Add labels and descriptions."""
        for binding in bindings:
            draft, text = self._drafts[_number(binding)], binding["v"]
            texts = draft.labels if binding["p"]["value"] == LABEL else draft.descriptions
            language = text.get("xml:lang", "")
            # Two of Wikidata's language codes may be one language tag in RDF ("no" and "nb").
            texts[language] = min(text["value"], texts.get(language, text["value"]))

    def add_times(self, bindings: Iterable[Binding]) -> None:
        """Add dates; those that name no day are kept apart."""
        for binding in bindings:
            draft, property_id = self._drafts[_number(binding)], _property(binding)
            precision, calendar = int(binding["precision"]["value"]), binding["calendar"]["value"].rpartition("/")[2]
            try:
                parse_date(binding["time"], precision, calendar)
            except (InvalidDateError, ValueError):
                time = {"property": property_id, "time": binding["time"], "precision": precision, "calendar": calendar}
                draft.bad_times.append(time)
            else:
                draft.times.setdefault(property_id, []).append([binding["time"], precision, calendar])

    def rows(self) -> Iterator[RawRow]:
        """Yield a row for each item, and one for each of its dates that name no day."""
        for number, draft in sorted(self._drafts.items()):
            value = {
                "id": number,
                "labels": dict(sorted(draft.labels.items())),
                "descriptions": dict(sorted(draft.descriptions.items())),
                "links": {name: sorted(linked) for name, linked in sorted(draft.links.items())},
                "times": {
                    name: sorted(times, key=lambda time: (time[0]["value"], *time[1:]))
                    for name, times in sorted(draft.times.items())
                },
            }
            yield RawRow.from_json(ENTITIES, f"Q{number}", value)
            for bad in sorted(draft.bad_times, key=lambda bad: (bad["property"], bad["time"]["value"])):
                yield RawRow.from_json(DATES, f"Q{number}#{bad['property']} {bad['time']['value']}", bad)


def read_item(value: dict[str, Any]) -> Item:
    """Read an item back from its row's JSON; raises InvalidDateError."""
    return Item(
        number=value["id"],
        labels=value["labels"],
        descriptions=value["descriptions"],
        links=value["links"],
        times={name: [parse_date(*time) for time in times] for name, times in value["times"].items()},
    )


def _number(binding: Binding) -> int:
    return int(binding["s"]["value"].rpartition("/Q")[2])


def _property(binding: Binding) -> str:
    return binding["p"]["value"].removeprefix(DIRECT)
