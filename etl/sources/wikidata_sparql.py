"""Wikidata through a SPARQL endpoint: the statements of each property, then the items that these name.

Statements are read by property, a large one in shards of its subjects' hashes, and each shard's rows must be as many
as the endpoint counts. A checkpoint names what is left to read of hash space; which items are left to describe is
asked of the run's own staged rows.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from math import ceil, log2
from typing import Any

from db.errors import InvalidDateError
from db.settings import Settings
from etl.atlas import AtlasLoad
from etl.shards import Split, halves, in_order, rest_after
from etl.source import Batch, Checkpoint, RawRow, RowError, Source, SourceError
from etl.sparql import PUBLIC_ENDPOINT, Endpoint, QueryFailedError, QueryTimeoutError, check_endpoint
from etl.staging import Staging, Transactions
from etl.wikidata import DEFAULT_LANGUAGES, RELATION_PROPERTIES, WIKIDATA, describe, provenance_of, relate
from etl.wikidata_answers import DATES, ENTITIES, STATEMENTS, Answer, Drafts, read_item, statement_rows
from etl.wikidata_queries import (
    Scope,
    count_statements,
    parse_date,
    select_all_labels,
    select_links,
    select_statements,
    select_texts,
    select_times,
)

SHARD_ROWS = 20_000
BATCH_ITEMS = 200
"""As many as VALUES takes well."""

WANTED_ITEMS = 100_000
"""How many of the items still to be described are held at a time."""

COUNT_ATTEMPTS = 3
LONGEST_PATH = 32
MAX_HALVINGS = 4
PARALLEL = 2


@dataclass(frozen=True, slots=True)
class Shard:
    """A property's statements in a part of hash space; `root` numbers the part it was cut from."""

    property_id: str
    path: str
    root: int
    halvings: int = 0


@dataclass(frozen=True, slots=True)
class Items:
    """Items to describe together."""

    numbers: tuple[int, ...]
    halvings: int = 0


@dataclass(slots=True)
class Position:
    """How far a run is: the parts of properties still to read, those that failed, and the last item described.

    Items are described in rounds, since a description may name others; the last round finds nothing to describe.
    """

    todo: list[tuple[str, str]]
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    last_item: int = 0
    is_round_fruitful: bool = False
    failed_items: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, checkpoint: Checkpoint) -> "Position":
        """Read a position from the JSON of a checkpoint."""
        lists = {name: [tuple(row) for row in checkpoint[name]] for name in ("todo", "failed")}
        return cls(**(checkpoint | lists))

    def problems(self) -> list[str]:
        """Return a line for each part that could not be read."""
        return [reason for _, _, reason in self.failed] + self.failed_items

    def again(self) -> "Position":
        """Return the position from which to read what failed, and what of the items is still missing."""
        return Position([(name, path) for name, path, _ in self.failed], left_out=self.left_out)


class WikidataSparql(Source):
    """The mapping's properties and the items they join, as a SPARQL endpoint has them."""

    name = "wikidata"
    load = AtlasLoad()
    datasets = (WIKIDATA,)
    keeps_raw = False

    def __init__(
        self,
        url: str = PUBLIC_ENDPOINT,
        contact: str | None = None,
        properties: Sequence[str] = (),
        scope: Scope | None = None,
        languages: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if unknown := [name for name in properties if name not in RELATION_PROPERTIES]:
            raise SourceError(f"{unknown[0]} is none of the properties mapped: {', '.join(RELATION_PROPERTIES)}")
        self._url = url
        self._contact = contact
        self._properties = tuple(dict.fromkeys(properties)) or RELATION_PROPERTIES
        self._scope = scope or Scope()
        self._languages = tuple(dict.fromkeys(languages)) or DEFAULT_LANGUAGES
        if self._scope == Scope():
            self.speaks_for = provenance_of(self._properties)

    @classmethod
    def build(cls, params: dict[str, Any]) -> "WikidataSparql":
        """Make the source again; whom to contact is not recorded, since runs can be read by anyone."""
        return cls(
            params["endpoint"],
            Settings().contact,
            params["properties"],
            Scope.build(params["scope"]),
            params["languages"],
        )

    def params(self) -> dict[str, Any]:
        """Return the endpoint, the properties, the scope and the languages."""
        return {
            "endpoint": self._url,
            "properties": list(self._properties),
            "scope": self._scope.params(),
            "languages": list(self._languages),
        }

    def check(self) -> None:
        """Raise SourceError when the endpoint would refuse to be asked at all."""
        check_endpoint(self._url, self._contact)

    def attach(self, staging: Staging, transactions: Transactions) -> None:
        """Keep the way to the staged rows: they tell which items are to be described."""
        self._staging, self._transactions = staging, transactions

    async def batches(self, checkpoint: Checkpoint | None) -> AsyncIterator[Batch]:
        """Yield the statements shard by shard, then the items."""
        self._endpoint = Endpoint(self._url, self._contact, PARALLEL)
        position = Position.parse(checkpoint) if checkpoint else Position([(name, "") for name in self._properties])
        async with aclosing(self._statements(position)) as batches:
            async for batch in batches:
                yield batch
        async with aclosing(self._descriptions(position)) as batches:
            async for batch in batches:
                yield batch
        self.notes[:] = [f"left out: {count} {what}" for what, count in sorted(position.left_out.items())]
        if self.problems:
            yield Batch([], asdict(position.again()))

    def _batch(self, position: Position, answer: Answer) -> Batch:
        for what, count in answer.left_out.items():
            position.left_out[what] = position.left_out.get(what, 0) + count
        self.problems[:] = position.problems()
        return Batch(answer.rows, asdict(position))

    async def _statements(self, position: Position) -> AsyncGenerator[Batch, None]:
        roots = list(position.todo)
        shards = [Shard(name, path, root) for root, (name, path) in enumerate(roots)]
        async with aclosing(in_order(shards, self._read_shard, 2 * PARALLEL)) as answers:
            async for shard, answer in answers:
                name, path = roots[shard.root]
                rest = [(name, later) for later in rest_after(path, shard.path)]
                position.todo = rest + roots[shard.root + 1 :]
                if answer.problem:
                    position.failed.append((shard.property_id, shard.path, answer.problem))
                yield self._batch(position, answer)

    async def _read_shard(self, shard: Shard) -> Answer | Split[Shard]:
        """Read a shard whose rows are as many as counted; one that is too big, or takes too long, is cut."""
        where = (shard.property_id, shard.path, self._scope)
        try:
            for _ in range(COUNT_ATTEMPTS):
                counted = await self._fetch_count(count_statements(*where))
                if counted > SHARD_ROWS and len(shard.path) < LONGEST_PATH:
                    return _cut(shard, ceil(log2(counted / SHARD_ROWS)))
                bindings = await self._endpoint.select(select_statements(*where))
                if len(bindings) == counted:
                    return statement_rows(shard.property_id, bindings)
            problem = f"it counts {counted} rows and answers {len(bindings)}"
        except QueryFailedError as error:
            halvings = shard.halvings + await self._halvings(error)
            if halvings <= MAX_HALVINGS:
                return _cut(shard, 1, halvings)
            problem = str(error)
        return Answer(problem=f"{shard.property_id}, subjects whose hash begins with bits '{shard.path}': {problem}")

    async def _fetch_count(self, query: str) -> int:
        rows = await self._endpoint.select(query)
        try:
            return int(rows[0]["n"]["value"])
        except (IndexError, KeyError, ValueError) as error:
            raise QueryFailedError(f"a count came back as {rows!r:.80}") from error

    async def _halvings(self, error: QueryFailedError) -> int:
        """Return what a failure counts for on the way to giving up; raises SourceError when the endpoint is gone.

        A smaller query most often helps where time was too short, and seldom elsewhere.
        """
        if isinstance(error, QueryTimeoutError):
            return 1
        await self._endpoint.check()
        return 2

    async def _descriptions(self, position: Position) -> AsyncGenerator[Batch, None]:
        while True:
            numbers = await self._fetch_wanted(position.last_item)
            if not numbers and not position.is_round_fruitful:
                return
            if not numbers:
                position.last_item, position.is_round_fruitful, position.failed_items = 0, False, []
                continue
            batches = [Items(tuple(numbers[at : at + BATCH_ITEMS])) for at in range(0, len(numbers), BATCH_ITEMS)]
            async with aclosing(in_order(batches, self._describe, 2 * PARALLEL)) as answers:
                async for items, answer in answers:
                    position.last_item = items.numbers[-1]
                    position.is_round_fruitful |= bool(answer.rows)
                    if answer.problem:
                        position.failed_items.append(answer.problem)
                    yield self._batch(position, answer)

    async def _fetch_wanted(self, last: int) -> list[int]:
        """Return the next items after one that the staged rows name and do not describe, at most WANTED_ITEMS."""
        described, mentioned, rejected = (self._staging.table(name) for name in ("entity", "mention", "reject"))
        async with self._transactions() as session:
            found = await session.execute(
                f"""
                SELECT DISTINCT id FROM (
                    SELECT id FROM {mentioned}
                    UNION ALL SELECT unnest(discipline_ids || field_ids || work_type_ids) FROM {described}
                ) AS wanted
                WHERE id > :last
                  AND NOT EXISTS (SELECT FROM {described} AS described WHERE described.id = wanted.id)
                  AND NOT EXISTS (SELECT FROM {rejected} AS rejected
                                  WHERE rejected.source = :source AND rejected.external_id = 'Q' || wanted.id)
                ORDER BY id LIMIT {WANTED_ITEMS}
                """,
                last=last,
                source=ENTITIES,
            )
            return [int(number) for number in found.scalars()]

    async def _describe(self, items: Items) -> Answer | Split[Items]:
        """Read items together; when they take too long, half of them at a time."""
        try:
            return await self._read_items(items.numbers)
        except QueryFailedError as error:
            halvings = items.halvings + await self._halvings(error)
            half = len(items.numbers) // 2
            if half and halvings <= MAX_HALVINGS:
                return Split([Items(part, halvings) for part in (items.numbers[:half], items.numbers[half:])])
            return Answer(problem=f"Q{items.numbers[0]} to Q{items.numbers[-1]}: {error}")

    async def _read_items(self, numbers: Sequence[int]) -> Answer:
        select = self._endpoint.select
        drafts = Drafts(await select(select_links(numbers)))
        if not drafts.present:
            return Answer()
        drafts.add_texts(await select(select_texts(drafts.present, self._languages)))
        drafts.add_times(await select(select_times(drafts.present)))
        if nameless := drafts.nameless():
            drafts.add_texts(await select(select_all_labels(nameless)))
        return Answer(list(drafts.rows()))

    def transform(self, row: RawRow) -> Iterable[object]:
        """Make edges of a statement, an entity of an item; raises RowError for a date that names no day."""
        value = row.json()
        if row.source == STATEMENTS:
            return relate(value["subject"], value["property"], value["value"])
        if row.source == DATES:
            try:
                parse_date(value["time"], value["precision"], value["calendar"])
            except (InvalidDateError, ValueError) as error:
                raise RowError(str(error), value["property"], value["time"]["value"]) from error
            return []
        return [describe(read_item(value), self._languages)]


def _cut(shard: Shard, depth: int, halvings: int = 0) -> Split[Shard]:
    return Split([replace(shard, path=path, halvings=halvings) for path in halves(shard.path, depth)])
