"""What the configured sources share: rows found page by page become raw rows, records and a profile of the fields."""

from abc import abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from pydantic import TypeAdapter

from etl.mapping import TYPE_NAMES, Mapper, columns_of
from etl.records import RecordLoad, read_state
from etl.source import Batch, Checkpoint, Prepared, RawRow, RowError, Source
from etl.source_config import SourceConfig
from etl.staging import StagedRow, Staging, Transactions, storable

MAX_FIELDS = 1000
OTHER_FIELDS = "(all other fields)"

_CONFIG: TypeAdapter[SourceConfig] = TypeAdapter(SourceConfig)


class Found(NamedTuple):
    """A row of a source: the JSON text as received, what it parses to (or why it does not), and its place there."""

    payload: str
    value: Any
    place: str


@dataclass(frozen=True, slots=True)
class Page:
    """Rows that were found together, and the position after them.

    `state` comes with the last page of a complete run and is what the next run begins from.
    """

    rows: Sequence[Found]
    position: Checkpoint
    state: dict[str, Any] | None = None


class RecordSource(Source):
    """A source of the file of sources; a checkpoint holds the rows so far, the position, the state it began with."""

    def __init__(self, name: str, config: SourceConfig) -> None:
        super().__init__()
        self.name = name
        self.kind = config.kind
        self.config = config
        self.max_failed_share = config.max_failed_share
        self.load = RecordLoad(name, tuple(columns_of(config.record)), config.fresh_within_days)
        self.speaks_for = (name,)
        self._mapper = Mapper(config.record, config.types)

    @classmethod
    def build(cls, params: dict[str, Any]) -> "RecordSource":
        """Make the source that `params` describes."""
        return cls(params["name"], _CONFIG.validate_python(params["config"]))

    def params(self) -> dict[str, Any]:
        """Return the name and the configuration, which holds no secret."""
        return {
            "name": self.name,
            "config": self.config.model_dump(mode="json", exclude_defaults=True) | {"kind": self.kind},
        }

    @property
    @abstractmethod
    def location(self) -> str:
        """The address or path that is read."""

    @abstractmethod
    def trouble(self) -> str | None:
        """Return what would keep a run from beginning, None when nothing that can be told without asking the source."""

    def attach(self, staging: Staging, transactions: Transactions) -> None:  # noqa: ARG002
        """Keep the way to the state that the last complete run ended with."""
        self._transactions = transactions

    @abstractmethod
    def pages(self, position: Checkpoint | None, state: dict[str, Any]) -> AsyncGenerator[Page, None]:
        """Yield pages from a position on, or from the start; `state` is the last complete run's. Raises SourceError."""

    async def batches(self, checkpoint: Checkpoint | None) -> AsyncIterator[Batch]:
        """Yield a batch a page; the page that follows tells whether a page is the last one with rows."""
        if checkpoint is None:
            async with self._transactions() as session:
                begun_with = await read_state(session, self.name)
            position, rows = None, 0
        else:
            position, rows, begun_with = checkpoint["position"], checkpoint["rows"], checkpoint["state"]
        held: Page | None = None
        async with aclosing(self.pages(position, begun_with)) as pages:
            async for page in pages:
                if held is None or page.rows:
                    if held is not None:
                        yield self._batch(held, rows, begun_with)
                        rows += len(held.rows)
                    held = page
                else:
                    held = Page(held.rows, page.position, page.state)
        if held is not None and held.rows:
            yield self._batch(held, rows, begun_with)
        elif rows == 0:
            # A source that has no news says nothing of the rows that wait in quarantine.
            self.speaks_for = ()

    def _batch(self, page: Page, first_number: int, begun_with: dict[str, Any]) -> Batch:
        rows = first_number + len(page.rows)
        checkpoint = {"position": page.position, "rows": rows, "state": begun_with}
        return Batch((), checkpoint, self._prepare(page, first_number))

    def _prepare(self, page: Page, first_number: int) -> Prepared:
        raw: list[tuple[Any, ...]] = []
        records: list[tuple[Any, ...]] = []
        rejects: list[tuple[int, RawRow, RowError]] = []
        shapes: Counter[tuple[tuple[str, ...], tuple[type, ...]]] = Counter()
        name, values_of = self.name, self._mapper.values
        for number, (payload, value, place) in enumerate(page.rows, first_number):
            try:
                if isinstance(value, dict):
                    shapes[tuple(value), tuple(map(type, value.values()))] += 1
                elif isinstance(value, RowError):
                    raise value
                values = values_of(value, payload)
            except RowError as error:
                row = RawRow(name, self._id_or_place(value, payload, place), storable(payload) or "")
                rejects.append((number, row, error))
                raw.append((number, name, row.external_id, row.payload))
            else:
                records.append((number, *values))
                raw.append((number, name, values[0], payload))
        last = first_number + len(page.rows) - 1
        tables = {"raw": raw, "record": records, "field": _profile(last, shapes), "state": []}
        if page.state is not None:
            tables["state"] = [(last, orjson.dumps(page.state).decode())]
        return Prepared(len(page.rows), tables, rejects)

    def _id_or_place(self, value: Any, payload: str, place: str) -> str:
        """Name a refused row by its id, so that a later run which loads it releases it; by its place if it has none."""
        try:
            return self._mapper.external_id(value, payload) if isinstance(value, dict) else place
        except RowError:
            return place

    def parse(self, row: RawRow) -> Any:
        """Parse a raw row as `pages` does; raises RowError."""
        return row.json()

    def transform(self, row: RawRow) -> Iterable[object]:
        """Make the record of a raw row again."""
        yield StagedRow("record", self._mapper.values(self.parse(row), row.payload))


def _profile(number: int, shapes: Counter[tuple[tuple[str, ...], tuple[type, ...]]]) -> list[tuple[Any, ...]]:
    """Count the fields of rows by type: numbers of a page are (row number, field, type, count)."""
    counts: Counter[tuple[str, str]] = Counter()
    names: dict[str, str] = {}
    for (fields, types), rows in shapes.items():
        for field, kind in zip(fields, types, strict=True):
            name = names.get(field)
            if name is None:
                name = names[field] = (storable(field) or "")[:200] if len(names) < MAX_FIELDS else OTHER_FIELDS
            counts[name, TYPE_NAMES.get(kind, kind.__name__)] += rows
    return [(number, field, kind, rows) for (field, kind), rows in counts.items()]
