"""Saved answers of a SPARQL endpoint (https://www.w3.org/TR/sparql11-results-json/) about people and influences.

Two shapes of answer are known by their variables, as the queries behind the shipped files name them:

- people: `p` the person, `birth`, `death`, `countryLabel`, and `pLabel` with `pLabel_<language>` beside it. The
  bindings of one person are one raw row.
- influences: `p` the person, and `influenced` the one who influenced `p` (not the other way round), with labels.
"""

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from db.dates import HistoricalDate, Precision
from db.models.atlas import Kind
from etl.atlas import AtlasLoad
from etl.facts import EntityRecord, MentionRecord
from etl.source import Batch, Checkpoint, RawRow, RowError, Source, SourceError
from etl.wikidata import DATASET, WIKIDATA, relate

BATCH_ROWS = 1000

_ITEM_URI = re.compile(r"https?://www\.wikidata\.org/entity/(Q[1-9][0-9]*)")
_ITEM = re.compile(r"Q[1-9][0-9]*")
_UNKNOWN_VALUE = "/.well-known/genid/"

Binding = Mapping[str, Mapping[str, str]]


class SparqlJson(Source):
    """One or several files of saved SPARQL results."""

    load = AtlasLoad()
    datasets = (WIKIDATA,)

    def __init__(self, files: Sequence[Path], disciplines: Sequence[str] = (), name: str = "sparql-json") -> None:
        super().__init__()
        self.name = name
        self._files = list(files)
        self._disciplines = tuple(disciplines)

    @classmethod
    def build(cls, params: dict[str, Any]) -> "SparqlJson":
        """Make the source that `params` describes."""
        return cls([Path(file) for file in params["files"]], params["disciplines"])

    def params(self) -> dict[str, Any]:
        """Return the files' absolute paths and the disciplines given to all people in them."""
        return {
            "files": [str(file.absolute()) for file in self._files],
            "disciplines": list(self._disciplines),
        }

    async def count(self) -> int:
        """Return the number of raw rows in all files."""
        return sum(1 for file in self._files for _ in self._rows(file))

    async def batches(self, checkpoint: Checkpoint | None) -> AsyncIterator[Batch]:
        """Yield the rows file by file; a checkpoint is a file's position in the list and a row's in it."""
        first_file, first_row = (checkpoint["file"], checkpoint["row"]) if checkpoint else (0, 0)
        for number, file in enumerate(self._files[first_file:], first_file):
            rows = list(self._rows(file))
            start = first_row if number == first_file else 0
            for position in range(start, len(rows), BATCH_ROWS):
                batch = rows[position : position + BATCH_ROWS]
                yield Batch(batch, {"file": number, "row": position + len(batch)})

    def _rows(self, file: Path) -> Iterator[RawRow]:
        bindings = read_bindings(file)
        variables = {name for binding in bindings for name in binding}
        if {"p", "influenced"} <= variables:
            return self._influence_rows(bindings)
        if "p" in variables and variables & {"birth", "death"}:
            return self._people_rows(bindings)
        if not bindings:
            return iter(())
        raise SourceError(
            f"{file} has the variables {', '.join(sorted(variables))}: expected p with birth or death (people),"
            " or p with influenced (influences)"
        )

    def _people_rows(self, bindings: Sequence[Binding]) -> Iterator[RawRow]:
        people: dict[str, list[Binding]] = {}
        for binding in bindings:
            people.setdefault(binding.get("p", {}).get("value", ""), []).append(binding)
        for uri, group in people.items():
            yield RawRow.from_json(f"{self.name}/people", _short(uri), {"bindings": group})

    def _influence_rows(self, bindings: Sequence[Binding]) -> Iterator[RawRow]:
        for binding in bindings:
            ends = (binding.get(variable, {}).get("value", "") for variable in ("influenced", "p"))
            yield RawRow.from_json(f"{self.name}/influences", " > ".join(map(_short, ends)), binding)

    def transform(self, row: RawRow) -> Iterable[object]:
        """Turn a person's bindings into an entity, an influence's into an edge and two mentions."""
        if row.source.endswith("/influences"):
            return _influence(row.json())
        return [_person(row.json()["bindings"], self._disciplines)]


def read_bindings(file: Path) -> list[Binding]:
    """Read a SPARQL JSON result, whole or its bare list of bindings; raises SourceError."""
    try:
        answer = orjson.loads(file.read_bytes())
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise SourceError(f"{file} is not complete JSON: {error}") from error
    if isinstance(answer, dict):
        answer = (answer.get("results") or {}).get("bindings")
    if not isinstance(answer, list) or not all(_is_binding(binding) for binding in answer):
        raise SourceError(f"{file} is no SPARQL JSON result: expected a list of bindings")
    return answer


def _is_binding(binding: object) -> bool:
    return isinstance(binding, dict) and all(
        isinstance(term, dict) and isinstance(term.get("value"), str) for term in binding.values()
    )


def _short(uri: str) -> str:
    match = _ITEM_URI.fullmatch(uri)
    return match[1] if match else uri


def _item(binding: Binding, variable: str) -> str:
    uri = binding.get(variable, {}).get("value")
    match = _ITEM_URI.fullmatch(uri or "")
    if not match:
        raise RowError("not the URI of a Wikidata item", variable, uri)
    return match[1]


def _label(binding: Binding, variable: str) -> str | None:
    """Return a label; one that is just the item's number means that there is none."""
    text = binding.get(variable, {}).get("value", "").strip()
    return text if text and not _ITEM.fullmatch(text) else None


def _influence(binding: Binding) -> list[object]:
    influencer, influenced = _item(binding, "influenced"), _item(binding, "p")
    # These name the ends; the statement itself mentions both without a name.
    return [
        MentionRecord(key=influencer, kind=Kind.AGENT, dataset=DATASET, name=_label(binding, "influencedLabel")),
        MentionRecord(key=influenced, kind=Kind.AGENT, dataset=DATASET, name=_label(binding, "pLabel")),
        *relate(int(influenced[1:]), "P737", int(influencer[1:])),
    ]


def _person(bindings: Sequence[Binding], disciplines: Sequence[str]) -> EntityRecord:
    labels = {
        variable.removeprefix("pLabel_"): term["value"]
        for binding in bindings
        for variable, term in binding.items()
        if variable.startswith("pLabel_") and _label(binding, variable)
    }
    english = next((label for binding in bindings if (label := _label(binding, "pLabel"))), None)
    if english is not None:
        labels["en"] = english
    birth, death = _life(_dates(bindings, "birth"), _dates(bindings, "death"))
    countries = {label for binding in bindings if (label := _label(binding, "countryLabel"))}
    return EntityRecord(
        key=_item(bindings[0], "p"),
        kind=Kind.AGENT,
        dataset=DATASET,
        name=_name(labels),
        labels=labels,
        disciplines=tuple(disciplines),
        start=birth,
        end=death,
        details={"countries": sorted(countries)},
    )


def _name(labels: Mapping[str, str]) -> str | None:
    """Choose the name among labels by language: English, else one for many languages, else any."""
    return next((labels[language] for language in ("en", "mul", *sorted(labels)) if language in labels), None)


def _dates(bindings: Sequence[Binding], variable: str) -> list[HistoricalDate]:
    """Return the distinct dates of a variable, the best first: the most precise, then the earliest."""
    texts = {
        binding[variable]["value"]
        for binding in bindings
        if variable in binding and _UNKNOWN_VALUE not in binding[variable]["value"]
    }
    return sorted((HistoricalDate.parse(text) for text in texts), key=lambda date: (-date.precision, date.first))


def _life(
    births: Sequence[HistoricalDate], deaths: Sequence[HistoricalDate]
) -> tuple[HistoricalDate | None, HistoricalDate | None]:
    """Choose birth and death.

    A simple SPARQL result does not tell a date's precision. Where a death comes before the birth, and one of them
    is a full hundred, that one can only stand for its century.
    """
    birth, death = (births[0] if births else None), (deaths[0] if deaths else None)
    if birth and death and death.is_before(birth):
        birth, death = _as_century(birth), _as_century(death)
        if death.is_before(birth):
            raise RowError(f"dead in {death.year}, before the birth in {birth.year}", "death", death.isoformat())
    return birth, death


def _as_century(date: HistoricalDate) -> HistoricalDate:
    if date.precision is not Precision.YEAR or date.year % 100:
        return date
    # A full hundred BCE is the first year of its century, in years that have no 0: -500 is the fifth, from -499 on.
    return HistoricalDate.build(date.year + (date.year < 0), precision=Precision.CENTURY)
