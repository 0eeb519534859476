"""Real facts of Wikidata as entities in its JSON: statements, names and dates put together, and whole entities."""

from pathlib import Path
from typing import Any

import orjson

from etl.sources.sample import DIRECTORY as SAMPLE

DIRECTORY = Path(__file__).parent / "data" / "wikidata"
GREGORIAN = "http://www.wikidata.org/entity/Q1985727"

Entity = dict[str, Any]


def whole_entities() -> list[Entity]:
    """Return the entities that are kept as Wikidata gave them."""
    found: list[Entity] = []
    for file in sorted((DIRECTORY / "entities").glob("*.json")):
        answer = orjson.loads(file.read_bytes())
        found += answer["entities"].values() if "entities" in answer else [answer]
    return found


def entities() -> list[Entity]:
    """Return all entities, by number; those that are only named by a statement have none of their own."""
    made: dict[str, Entity] = {}
    for line in (DIRECTORY / "statements.tsv").read_text().splitlines():
        subject, property_id, value = line.split("\t")
        add_item(_entity(made, subject), property_id, value)
        _entity(made, value)
    for line in (DIRECTORY / "labels.tsv").read_text().splitlines():
        key, label = line.split("\t")
        if key in made:
            _add_label(made[key], "en", label)
    _add_people(made)
    made |= {entity["id"]: entity for entity in whole_entities()}
    return sorted(made.values(), key=lambda entity: int(entity["id"][1:]))


def _entity(made: dict[str, Entity], key: str) -> Entity:
    blank: Entity = {"type": "item", "id": key, "labels": {}, "descriptions": {}, "claims": {}}
    return made.setdefault(key, blank)


def _add_people(made: dict[str, Entity]) -> None:
    """Add names and dates from the shipped answers, which keep no precision: 1 January is taken for a year."""
    for file in ("philosophers", "influences"):
        for row in orjson.loads((SAMPLE / "wikidata" / f"{file}.bindings.json").read_bytes()):
            person = made.get(row["p"]["value"].rpartition("/")[2])
            if person is None:
                continue
            for variable, language in (("pLabel", "en"), ("pLabel_de", "de"), ("pLabel_ja", "ja")):
                if "xml:lang" in row.get(variable, {}):
                    _add_label(person, language, row[variable]["value"])
            for variable, property_id in (("birth", "P569"), ("death", "P570")):
                if row.get(variable, {}).get("datatype", "").endswith("dateTime"):
                    add_time(person, property_id, *_historical(row[variable]["value"]))


def _historical(astronomical: str) -> tuple[str, int]:
    """Turn a date of the query service into the JSON's count of years."""
    year, month, day = int(astronomical[:-16]), astronomical[-15:-13], astronomical[-12:-10]
    precision = 9 if (month, day) == ("01", "01") else 11
    written = f"-{1 - year:04}" if year <= 0 else f"+{year:04}"
    return f"{written}-{month}-{day}T00:00:00Z", precision


def _add_label(entity: Entity, language: str, label: str) -> None:
    entity["labels"].setdefault(language, {"language": language, "value": label})


def add_item(entity: Entity, property_id: str, value: str, rank: str = "normal") -> None:
    """Add a statement whose value is an item."""
    datavalue = {"type": "wikibase-entityid", "value": {"entity-type": "item", "id": value}}
    _add(entity, property_id, {"snaktype": "value", "property": property_id, "datavalue": datavalue}, rank)


def add_unknown(entity: Entity, property_id: str, rank: str = "normal") -> None:
    """Add a statement whose value is said to be unknown."""
    _add(entity, property_id, {"snaktype": "somevalue", "property": property_id}, rank)


def add_time(
    entity: Entity, property_id: str, time: str, precision: int, calendar: str = GREGORIAN, rank: str = "normal"
) -> None:
    """Add a statement whose value is a time, unless it is there."""
    value = {"time": time, "precision": precision, "calendarmodel": calendar}
    snak = {"snaktype": "value", "property": property_id, "datavalue": {"type": "time", "value": value}}
    if all(one["mainsnak"] != snak for one in entity["claims"].get(property_id, ())):
        _add(entity, property_id, snak, rank)


def _add(entity: Entity, property_id: str, snak: dict[str, Any], rank: str) -> None:
    entity["claims"].setdefault(property_id, []).append({"mainsnak": snak, "rank": rank, "type": "statement"})
