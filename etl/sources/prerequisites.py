"""Metacademy's concepts and their prerequisites, from the CSV files of its content repository."""

import csv
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

from db.models.atlas import Kind, RelationshipType
from etl.atlas import AtlasLoad
from etl.facts import EntityRecord, InfluenceRecord, MentionRecord
from etl.source import Batch, Checkpoint, DatasetTerms, RawRow, RowError, Source, SourceError

BATCH_ROWS = 500
DATASET = "metacademy"
STATED_CONFIDENCE = 0.95
"""Metacademy's prerequisites were set by hand, concept by concept."""

METACADEMY = DatasetTerms(
    name=DATASET,
    title="Metacademy",
    url="https://github.com/metacademy/metacademy-content",
    licence="CC BY-SA 3.0",
    licence_url="https://creativecommons.org/licenses/by-sa/3.0/",
    attribution="Concepts, summaries and prerequisites by the authors of Metacademy (metacademy.org)",
)


class Prerequisites(Source):
    """A file of concepts (tag, id, title, summary) and one of edges (prerequisite_tag, concept_tag, reason)."""

    load = AtlasLoad()
    datasets = (METACADEMY,)

    def __init__(self, concepts: Path, edges: Path, name: str = "prerequisites") -> None:
        super().__init__()
        self.name = name
        self._concepts = concepts
        self._edges = edges

    @classmethod
    def build(cls, params: dict[str, Any]) -> "Prerequisites":
        """Make the source that `params` describes."""
        return cls(Path(params["concepts"]), Path(params["edges"]))

    def params(self) -> dict[str, Any]:
        """Return the two files' absolute paths."""
        return {"concepts": str(self._concepts.absolute()), "edges": str(self._edges.absolute())}

    async def count(self) -> int:
        """Return the number of rows in both files."""
        return sum(1 for _ in self._rows())

    async def batches(self, checkpoint: Checkpoint | None) -> AsyncIterator[Batch]:
        """Yield the concepts, then the edges; a checkpoint is a row's position in both together."""
        rows = list(self._rows())
        for position in range(checkpoint["row"] if checkpoint else 0, len(rows), BATCH_ROWS):
            batch = rows[position : position + BATCH_ROWS]
            yield Batch(batch, {"row": position + len(batch)})

    def _rows(self) -> Iterator[RawRow]:
        for row in read_csv(self._concepts, {"tag", "title", "summary"}):
            yield RawRow.from_json(f"{self.name}/concepts", row["tag"], row)
        for row in read_csv(self._edges, {"prerequisite_tag", "concept_tag", "reason"}):
            external_id = f"{row['prerequisite_tag']} > {row['concept_tag']}"
            yield RawRow.from_json(f"{self.name}/edges", external_id, row)

    def transform(self, row: RawRow) -> Iterable[object]:
        """Turn a concept into an entity, an edge into a prerequisite and two mentions."""
        value = row.json()
        return _edge(value) if row.source.endswith("/edges") else [_concept(value)]


def read_csv(file: Path, columns: set[str]) -> list[dict[str, str]]:
    """Read a UTF-8 CSV file with a header; raises SourceError when it is missing, malformed or lacks a column."""
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines, strict=True, restval="")
            missing = columns - set(reader.fieldnames or ())
            if missing:
                raise SourceError(f"{file} lacks the column {', '.join(sorted(missing))}")
            return [{column: value for column, value in row.items() if column is not None} for row in reader]
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{file} is not UTF-8 CSV: {error}") from error


def _key(row: dict[str, str], column: str) -> str:
    if not row[column]:
        raise RowError("is empty", column)
    return f"{DATASET}:{row[column]}"


def _concept(row: dict[str, str]) -> EntityRecord:
    return EntityRecord(
        key=_key(row, "tag"),
        kind=Kind.CONCEPT,
        dataset=DATASET,
        name=row["title"].strip() or None,
        description=row["summary"].strip() or None,
    )


def _edge(row: dict[str, str]) -> list[object]:
    prerequisite, concept = _key(row, "prerequisite_tag"), _key(row, "concept_tag")
    return [
        MentionRecord(key=prerequisite, kind=Kind.CONCEPT, dataset=DATASET),
        MentionRecord(key=concept, kind=Kind.CONCEPT, dataset=DATASET),
        InfluenceRecord(
            source=prerequisite,
            target=concept,
            type=RelationshipType.PREREQUISITE_FOR,
            confidence=STATED_CONFIDENCE,
            dataset=DATASET,
            rule="prerequisite",
            note=row["reason"].strip() or None,
        ),
    ]
