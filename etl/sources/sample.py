"""The sample that ships with the atlas: philosophers, who influenced them, and what concepts presuppose."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from etl.atlas import AtlasLoad
from etl.source import Batch, Checkpoint, RawRow, Source
from etl.sources.prerequisites import METACADEMY, Prerequisites
from etl.sources.sparql_json import SparqlJson
from etl.wikidata import WIKIDATA

DIRECTORY = Path(__file__).parent.parent / "sample"


class Sample(Source):
    """The shipped files, one after the other, as one run."""

    name = "sample"
    load = AtlasLoad()
    datasets = (WIKIDATA, METACADEMY)

    def __init__(self) -> None:
        super().__init__()
        people, influences = (
            SparqlJson([DIRECTORY / "wikidata" / file], disciplines=["philosophy"], name=self.name)
            for file in ("philosophers.bindings.json", "influences.bindings.json")
        )
        metacademy = DIRECTORY / "metacademy"
        concepts = Prerequisites(metacademy / "concepts.csv", metacademy / "edges_resolved.csv", name=self.name)
        self._parts: tuple[Source, ...] = (people, influences, concepts)
        self._transforms = {"people": people, "influences": influences, "concepts": concepts, "edges": concepts}

    @classmethod
    def build(cls, params: dict[str, Any]) -> "Sample":  # noqa: ARG003 (the sample is what it is)
        """Make the source; it has no parameters."""
        return cls()

    def params(self) -> dict[str, Any]:
        """Return nothing: the sample is what it is."""
        return {}

    async def count(self) -> int:
        """Return the number of rows of all parts."""
        return sum([await part.count() or 0 for part in self._parts])

    async def batches(self, checkpoint: Checkpoint | None) -> AsyncIterator[Batch]:
        """Yield the parts' batches; a checkpoint is a part's number and the checkpoint in it."""
        start = checkpoint["part"] if checkpoint else 0
        for number, part in enumerate(self._parts[start:], start):
            within = checkpoint["within"] if checkpoint and number == start else None
            async for batch in part.batches(within):
                yield Batch(batch.rows, {"part": number, "within": batch.checkpoint})

    def transform(self, row: RawRow) -> Iterable[object]:
        """Transform as the part does that the row is of."""
        return self._transforms[row.source.rpartition("/")[2]].transform(row)
