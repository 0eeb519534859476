"""Wikidata's JSON dumps: all entities, one a line (https://www.wikidata.org/wiki/Wikidata:Database_download).

The file is read several times. The first pass takes the items with a statement that joins two items, and those
statements; each later one describes the items that were named until then but not described. A file of a web server is
read once: what it only names stays a stub. A file of this machine that stands loaded as it is is not read again.
"""

import os
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import Any

from db.binary_copy import row_writer
from db.models.atlas import Kind
from etl import runs
from etl.atlas import KEY_COLUMNS, AtlasLoad
from etl.entity_lines import ENTITIES, SOURCE, Extract, LineReader, first_number, transform
from etl.files import File, file_at, is_url, stamp
from etl.item_set import ItemSet
from etl.lines import Chunk, Layout, read_chunks, sniff
from etl.source import Batch, Checkpoint, Prepared, RawRow, Source, SourceError
from etl.staging import Staging, Transactions
from etl.statement_rows import TABLES
from etl.wikidata import DEFAULT_LANGUAGES, RELATION_PROPERTIES, WIKIDATA, mention, provenance_of
from etl.workers import Workers

MAX_PASSES = 4
"""An agent's occupation is named in the second pass at the latest, and what studies that in the third."""

_WHOLE_DUMP = re.compile(r"(?:latest|wikidata-[0-9]+)-all\.json(?:\.gz|\.bz2)?")
"""How Wikimedia names the dumps that hold every item."""


class WikidataDump(Source):
    """A file of Wikidata entities in JSON, packed or not, here or on a web server.

    `is_whole` tells whether the file states all of Wikidata, so that a complete run retires what it leaves out.
    """

    name = SOURCE
    load = AtlasLoad()
    datasets = (WIKIDATA,)
    keeps_raw = False

    def __init__(
        self,
        location: str,
        *,
        is_whole: bool | None = None,
        workers: int | None = None,
        languages: Sequence[str] = DEFAULT_LANGUAGES,
    ) -> None:
        super().__init__()
        self._location = location
        self._is_whole = is_named_whole(location) if is_whole is None else is_whole
        self._workers = (os.cpu_count() or 1) if workers is None else workers
        self._languages = tuple(languages)
        self._known, self._named, self._wanted = ItemSet(), ItemSet(), ItemSet()
        self._mentioned = {kind.value: ItemSet() for kind in Kind}
        self._left_out: Counter[str] = Counter()
        if self._is_whole:
            self.speaks_for = provenance_of(RELATION_PROPERTIES)

    @classmethod
    def build(cls, params: dict[str, Any]) -> "WikidataDump":
        """Make the source that `params` describes."""
        return cls(
            params["location"],
            is_whole=params["is_whole"],
            workers=params["workers"],
            languages=params["languages"],
        )

    def params(self) -> dict[str, Any]:
        """Return the file's absolute path or address, the options, and by what a run that would repeat it is known."""
        return {
            "location": self._location if is_url(self._location) else os.path.abspath(self._location),  # noqa: PTH100
            "is_whole": self._is_whole,
            "workers": self._workers,
            "languages": list(self._languages),
            "file": stamp(self._location),
            "code": runs.code_digest(),
        }

    def attach(self, staging: Staging, transactions: Transactions) -> None:
        """Keep the way to the staged rows: they tell what a run that goes on has described and named."""
        self._staging, self._transactions = staging, transactions

    async def batches(self, checkpoint: Checkpoint | None) -> AsyncIterator[Batch]:
        """Yield chunk after chunk of lines; a checkpoint is a pass and an offset in the unpacked file."""
        standing = await self._standing() if checkpoint is None else None
        if standing is not None:
            yield standing
        if standing is not None or (checkpoint and "standing" in checkpoint):
            # What was not read can retire nothing.
            self.speaks_for = ()
            return
        file = file_at(self._location)
        layout, digest_bytes = await sniff(file, checkpoint["digest_bytes"] if checkpoint else None)
        position: Checkpoint = {"pass": 1, "offset": 0, "digest": layout.digest, "digest_bytes": digest_bytes}
        if checkpoint:
            if layout.digest != checkpoint["digest"]:
                raise SourceError(f"{file.name} is not the file the run began with: start anew")
            position, self._left_out = checkpoint, Counter(checkpoint["left_out"])
            await self._recall(checkpoint["pass"])
        async with Workers[Chunk, Extract](self._workers) as workers:
            while position["pass"] == 1 or self._has_wanted(position["pass"]):
                async with aclosing(self._pass(file, layout, position, workers)) as batches:
                    async for batch in batches:
                        yield batch
                position = position | {"pass": position["pass"] + 1, "offset": 0}
                self._want()
        self.notes.extend(f"left out: {count} {what}" for what, count in sorted(self._left_out.items()) if count)

    async def _standing(self) -> Batch | None:
        """Return what an earlier run made of the file, if that stands: nothing new."""
        if stamp(self._location) is None:
            return None
        async with self._transactions() as session:
            earlier = await runs.standing(session, self._staging.run_id)
            if earlier is None:
                return None
            await self._staging.reject_again(session, earlier.id)
        self.notes.append(f"not read: the file is as run {earlier.id} loaded it, and nothing has changed since")
        return Batch((), {"standing": earlier.id}, Prepared(earlier.processed, {}, []))

    def _has_wanted(self, number: int) -> bool:
        if not self._wanted or number > MAX_PASSES:
            return False
        if is_url(self._location):
            self.notes.append(f"{self._location} is read once: items that it only names have no name or date")
            return False
        return True

    async def _pass(
        self, file: File, layout: Layout, position: Checkpoint, workers: Workers[Chunk, Extract]
    ) -> AsyncGenerator[Batch, None]:
        reader = LineReader(self._languages, position["pass"], self._wanted if position["pass"] > 1 else None)
        chunks = read_chunks(file, layout, position["offset"])
        async with aclosing(chunks):
            async for chunk, extract in workers.map(reader, chunks):
                self._known.update(extract.described)
                self._named.update(extract.named)
                extract.prepared.written["mention"] = self._news(extract)
                self._left_out.update(extract.left_out)
                left_out = {what: count for what, count in self._left_out.items() if count}
                yield Batch((), position | {"offset": chunk.end, "left_out": left_out}, extract.prepared)

    def _news(self, extract: Extract) -> bytes:
        """Write the mentions of items that no earlier chunk describes or mentions as the same kind: a few."""
        rows = []
        for kind, mentions in extract.mentions.items():
            for place in self._mentioned[kind].add(mentions.numbers):
                row = mention(mentions.numbers[place], Kind(kind))
                rows.append(_write_mention((mentions.rows[place], *row.values)))
            self._mentioned[kind].update(extract.settled)
        return b"".join(rows)

    async def _recall(self, number: int) -> None:
        """Find out from the staged rows what was described and named before a pass and in it."""
        earlier, start, end = first_number(number - 1), first_number(number), first_number(number + 1)
        if number > 1:
            await self._collect(_DESCRIBED, 0, start, self._known)
            # What an earlier pass has looked for in vain is not looked for again.
            await self._collect(_NAMED, 0, earlier, self._known)
            await self._collect(_NAMED, 0, start, self._named)
            self._want()
        await self._collect(_DESCRIBED, start, end, self._known)
        await self._collect(_NAMED, start, end, self._named)

    async def _collect(self, query: str, first: int, end: int, items: ItemSet) -> None:
        tables = {name: self._staging.table(name) for name in ("entity", "mention", "reject")}
        statement = query.format(**tables, references=" || ".join(KEY_COLUMNS))
        for low, high in pairwise(_SHARES):
            async with self._transactions() as session:
                found = await session.execute(statement, first=first, end=end, low=low, high=high)
                items.update(found.scalars())

    def _want(self) -> None:
        self._wanted = self._named.without(self._known)
        self._known.merge(self._wanted)

    def transform(self, row: RawRow) -> Iterable[object]:
        """Turn an item, a statement or a line into records."""
        return transform(row, self._languages)


_write_mention = row_writer(TABLES["mention"].types)

_SHARES = (*range(0, 256_000_001, 16_000_000), (1 << 63) - 1)
"""Ids are fetched by ranges: all at once, of the 130 million there are, would fill the memory."""

_DESCRIBED = f"""
    SELECT id FROM {{entity}} WHERE row_no >= :first AND row_no < :end AND id >= :low AND id < :high
    UNION ALL
    SELECT substr(external_id, 2)::bigint FROM {{reject}}
    WHERE source = '{ENTITIES}' AND external_id ~ '^Q[0-9]+$' AND row_no >= :first AND row_no < :end
"""

_NAMED = """
    SELECT DISTINCT id FROM (
        SELECT id, row_no FROM {mention}
        UNION ALL SELECT reference, row_no FROM {entity}, unnest({references}) AS reference
    ) AS named WHERE row_no >= :first AND row_no < :end AND id >= :low AND id < :high
"""


def is_named_whole(location: str) -> bool:
    """Tell whether a file is named as Wikimedia names the dumps of all items."""
    return _WHOLE_DUMP.fullmatch(location.rpartition("/")[2]) is not None
