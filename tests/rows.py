"""A source of rows written in a test, for trying the pipeline itself."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from db.models.atlas import Kind, RelationshipType
from etl.atlas import AtlasLoad
from etl.facts import EntityRecord, InfluenceRecord, MentionRecord
from etl.source import Batch, Checkpoint, DatasetTerms, RawRow, RowError, Source

TERMS = DatasetTerms("test", "Test", "https://example.org/", "CC0 1.0", "https://example.org/cc0", "nobody")


class Rows(Source):
    """Rows such as {"id": "Q1", "name": "One"} or {"from": "Q1", "to": "Q2", "rule": "P737"}."""

    load = AtlasLoad()
    datasets = (TERMS,)

    def __init__(self, rows: Sequence[Any], name: str = "rows", batch_rows: int = 2) -> None:
        super().__init__()
        self.name = name
        self._batch_rows = batch_rows
        self._rows = [
            RawRow.from_json(
                f"{name}/all", str(row.get("id") or f"{row.get('from')}-{row.get('to')}-{row.get('rule')}"), row
            )
            for row in rows
        ]

    @classmethod
    def build(cls, params: dict[str, Any]) -> "Rows":  # noqa: ARG003 (rows are not built again)
        return cls([])

    def params(self) -> dict[str, Any]:
        return {}

    async def batches(self, checkpoint: Checkpoint | None) -> AsyncIterator[Batch]:
        for start in range(checkpoint["row"] if checkpoint else 0, len(self._rows), self._batch_rows):
            rows = self._rows[start : start + self._batch_rows]
            yield Batch(rows, {"row": start + len(rows)})

    def transform(self, row: RawRow) -> Iterable[object]:
        value = row.json()
        if "bad" in value:
            raise RowError("marked as bad", "bad", value["bad"])
        if "from" not in value:
            given = {name: value[name] for name in ("name", "description", "labels") if name in value}
            return [EntityRecord(key=value["id"], kind=Kind(value.get("kind", "AGENT")), dataset="test", **given)]
        return [
            *(MentionRecord(key=value[end], kind=Kind.AGENT, dataset="test") for end in ("from", "to")),
            InfluenceRecord(
                source=value["from"],
                target=value["to"],
                type=RelationshipType(value.get("type", "INFLUENCED")),
                confidence=value.get("confidence", 0.9),
                derived=value.get("derived", False),
                joins=value.get("joins"),
                dataset="test",
                rule=value["rule"],
            ),
        ]
