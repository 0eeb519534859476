"""Records made anew from the raw rows that are kept, by the mapping of today, without asking their source."""

from collections.abc import AsyncIterator

from etl.record_source import RecordSource
from etl.source import Again, Batch, Checkpoint, RawRow
from etl.staging import Staging, Transactions

BATCH_ROWS = 5000
PREFIX = "renormalise "
"""Runs are recorded under the source's name after this."""

_PAGE = """
    SELECT external_id, payload FROM raw_record
    WHERE kind = :kind AND source = :source AND external_id > :after ORDER BY external_id LIMIT :size
"""


class Renormalise(Again):
    """The raw rows of a configured source, through that source's own mapping."""

    def __init__(self, original: RecordSource) -> None:
        super().__init__(original, PREFIX)
        self.max_failed_share = original.max_failed_share

    def attach(self, staging: Staging, transactions: Transactions) -> None:  # noqa: ARG002
        """Keep the way to the raw rows."""
        self._transactions = transactions

    async def batches(self, checkpoint: Checkpoint | None) -> AsyncIterator[Batch]:
        """Yield the raw rows by id."""
        after = checkpoint["after"] if checkpoint else ""
        while True:
            async with self._transactions() as session:
                wanted = {"kind": self.kind, "source": self._original.name, "after": after, "size": BATCH_ROWS}
                found = (await session.execute(_PAGE, **wanted)).all()
            if not found:
                return
            rows = [RawRow(self._original.name, row.external_id, row.payload) for row in found]
            after = rows[-1].external_id
            yield Batch(rows, {"after": after})
