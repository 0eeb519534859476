"""What a source is: batches of raw rows with checkpoints, and a pure transform from a raw row to records."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from db.binary_copy import numbered_rows
from db.errors import AtlasError
from etl.staging import Load, Staging, Transactions

Checkpoint = dict[str, Any]
"""A position in a source: what `Source.batches` needs to go on after a batch; plain JSON."""


class SourceError(AtlasError):
    """A source cannot be read as a whole: a missing file, an answer that is cut or no answer."""


class RowError(AtlasError, ValueError):
    """A raw row cannot become records; it goes to quarantine with this field, value and reason."""

    def __init__(self, reason: str, field: str | None = None, value: object = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field
        self.value = None if value is None else str(value)

    def parts(self) -> tuple[str | None, str | None, str]:
        """Return field, value and reason."""
        return self.field, self.value, self.reason

    def __reduce__(self) -> tuple[type["RowError"], tuple[str, str | None, str | None]]:
        # An exception otherwise loses its attributes on the way between processes.
        return RowError, (self.reason, self.field, self.value)


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as received: JSON text, named by its source and the id it has there."""

    source: str
    external_id: str
    payload: str

    @classmethod
    def from_json(cls, source: str, external_id: str, value: object) -> "RawRow":
        """Make a raw row of a parsed JSON value."""
        return cls(source, external_id, orjson.dumps(value).decode())

    def json(self) -> Any:
        """Parse the payload; raises RowError when it is not JSON."""
        try:
            return orjson.loads(self.payload)
        except orjson.JSONDecodeError as error:
            raise RowError(f"not JSON: {error}", value=self.payload[:200]) from error


@dataclass(slots=True)
class Prepared:
    """Rows made ready to be staged: their number, the values for each staging table, and the rows refused.

    Every tuple in `tables` begins with its row's number in the run, as each reject does, and so do the rows in
    `written`, which are in the form of binary COPY already. Plain data, so that it can be made in another process.
    """

    processed: int
    tables: dict[str, list[tuple[Any, ...]]]
    rejects: list[tuple[int, RawRow, RowError]]
    written: dict[str, bytes] = field(default_factory=dict)

    def first(self, rows: int, uncounted: Collection[str]) -> "Prepared":
        """Return the rows with the lowest numbers; the records in the tables named `uncounted` do not count."""
        written = {name: list(numbered_rows(data)) for name, data in self.written.items()}
        numbers = {row[0] for table in (*self.tables.values(), *written.values()) for row in table}
        numbers = set(sorted(numbers | {number for number, _, _ in self.rejects})[:rows])
        tables = {name: [values for values in table if values[0] in numbers] for name, table in self.tables.items()}
        rejects = [reject for reject in self.rejects if reject[0] in numbers]
        kept = {name: [row for row in table if row[0] in numbers] for name, table in written.items()}
        counted = Counter(
            row[0] for name, table in (*tables.items(), *kept.items()) if name not in uncounted for row in table
        )
        return Prepared(
            sum(max(1, counted[number]) for number in numbers),
            tables,
            rejects,
            {name: b"".join(row for _, row in table) for name, table in kept.items()},
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows, and the checkpoint from which the next batch follows them.

    A source that transforms elsewhere gives the rows `prepared`; their numbers must then differ over the whole run.
    """

    rows: Sequence[RawRow]
    checkpoint: Checkpoint
    prepared: Prepared | None = None

    def first(self, rows: int, uncounted: Collection[str]) -> "Batch":
        """Return the batch with at most so many rows; see `Prepared.first`."""
        return Batch(self.rows[:rows], self.checkpoint, self.prepared and self.prepared.first(rows, uncounted))


@dataclass(frozen=True, slots=True)
class DatasetTerms:
    """Where a source's facts come from, and on what terms they may be used; a row of the table `dataset`."""

    name: str
    title: str
    url: str
    licence: str
    licence_url: str
    attribution: str


class Source(ABC):
    """A place to load from. `name` identifies it over runs; raw rows' sources start with it."""

    name: str
    kind: str = "atlas"
    """Names the partition of raw_record that keeps its rows."""
    load: Load
    datasets: tuple[DatasetTerms, ...] = ()
    max_failed_share: float = 0.1
    keeps_raw: bool = True
    """Whether rows are kept as received in raw_record; a source that can be read again at will need not."""
    speaks_for: tuple[str, ...] = ()
    """The provenance ("dataset/rule") of which a complete run states all there is: what it leaves out is retired."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        """What could not be read though the rest could; it makes the run partial."""
        self.notes: list[str] = []
        """What else a person should be told at the end."""

    @property
    def loads(self) -> str:
        """The name of the source whose records a run makes; no two runs make the same ones at the same time."""
        return self.name

    @classmethod
    @abstractmethod
    def build(cls, params: dict[str, Any]) -> "Source":
        """Make the source again from its `params`, as recorded with a run."""

    @abstractmethod
    def params(self) -> dict[str, Any]:
        """Return what `build` needs: plain JSON, no secrets."""

    async def count(self) -> int | None:
        """Return how many rows there are, if that costs little; it only feeds the progress display."""
        return None

    def attach(self, staging: Staging, transactions: Transactions) -> None:  # noqa: B027 (most need nothing)
        """Take the run's staging, for a source whose later batches follow from what its earlier ones staged."""

    @abstractmethod
    def batches(self, checkpoint: Checkpoint | None) -> AsyncIterator[Batch]:
        """Yield batches from a checkpoint on, or from the start; raises SourceError."""

    @abstractmethod
    def transform(self, row: RawRow) -> Iterable[object]:
        """Turn a raw row into records of the kinds that `load` stages; raises RowError. Pure."""


class Again(Source):
    """Rows of another source that are kept here, taken through that source's own transform once more."""

    def __init__(self, original: Source, prefix: str) -> None:
        super().__init__()
        self._original = original
        self.name = f"{prefix}{original.name}"
        self.kind = original.kind
        self.load = original.load
        self.datasets = original.datasets

    @property
    def loads(self) -> str:
        """The name of the source whose rows are taken again."""
        return self._original.loads

    @classmethod
    def build(cls, params: dict[str, Any]) -> "Again":
        """Refuse: it is made of a source, which is built of these."""
        raise AtlasError(f"{cls.__name__} is made of a source, not of {params}")

    def params(self) -> dict[str, Any]:
        """Return the original's."""
        return self._original.params()

    def transform(self, row: RawRow) -> Iterable[object]:
        """Transform as the original does."""
        return self._original.transform(row)
