"""The loaders of one operation: however many parents ask, one statement a level and set of arguments."""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from aiodataloader import DataLoader

from db import lookups, records, run_details
from db.lookups import DatasetRow, EntityList, InfluencePage, LinkedRow, MeasuredRow
from db.models.operations import EtlRun, Quarantine, RunReport
from db.models.records import RawRecord, RecordField, RunQuality
from db.reading import ReadSession
from db.records import RecordKey
from db.rows import EntityRow
from db.run_details import QuarantinePage
from graph.limits import MAX_ENTRIES, limit_error

K = TypeVar("K", bound=Hashable)
A = TypeVar("A", bound=Hashable)
V = TypeVar("V")


class Loaders:
    """Made inside the running loop, for one operation.

    Those of lists take (parent's id, arguments) as a key and give one entry more than asked for when there are more.
    They keep no cache: a cached parent would run ahead of its level and split the statement of the next one.
    """

    def __init__(self, session: ReadSession) -> None:
        size = _Size()
        self.entities_by_id: DataLoader[int, EntityRow | None] = _single(session, lookups.entities_by_id)
        self.datasets_by_name: DataLoader[str, DatasetRow | None] = _single(session, lookups.datasets_by_name)
        self.runs_by_id: DataLoader[int, EtlRun | None] = _single(session, lookups.runs_by_id)
        self.reports_by_run: DataLoader[int, RunReport | None] = _single(session, lookups.reports_by_run)
        self.quality_by_run: DataLoader[int, RunQuality | None] = _single(session, run_details.quality_by_run)
        self.quality_by_source: DataLoader[str, RunQuality | None] = _single(session, run_details.quality_by_source)
        self.kinds_by_source: DataLoader[str, str | None] = _single(session, run_details.kinds_by_source)
        self.record_counts_by_source: DataLoader[str, int | None] = _single(session, records.counts_by_source)
        self.raw_by_key: DataLoader[RecordKey, RawRecord | None] = _single(session, records.raw_by_key)
        self.fields_by_run: DataLoader[int, list[RecordField] | None] = _single(session, run_details.fields_by_run)
        self.quarantine_by_run: DataLoader[tuple[int, QuarantinePage], list[Quarantine]]
        self.quarantine_by_run = _listed(session, run_details.quarantine_by_run, list, size)
        self.quarantine_counts_by_run: DataLoader[int, int | None]
        self.quarantine_counts_by_run = _single(session, run_details.quarantine_counts_by_run)
        self.measures_by_entity: DataLoader[int, MeasuredRow | None] = _single(session, lookups.measures_by_entity)
        self.lists_by_parent: DataLoader[tuple[int, EntityList], list[EntityRow]]
        self.lists_by_parent = _listed(session, lookups.lists_by_parent, list, size)
        self.influences_by_entity: DataLoader[tuple[int, InfluencePage], list[LinkedRow]]
        self.influences_by_entity = _listed(session, lookups.influences_by_entity, list, size)
        self.influence_counts_by_entity: DataLoader[tuple[int, InfluencePage], int]
        self.influence_counts_by_entity = _listed(session, lookups.influence_counts_by_entity, int, size)


class _Size:
    """How many entries the lists of the operation have together: its cost has only estimated it."""

    def __init__(self) -> None:
        self._entries = 0

    def add(self, entries: int) -> None:
        """Count a level's; raises a RequestError beyond the bound."""
        self._entries += entries
        if self._entries > MAX_ENTRIES:
            raise limit_error(
                f"the lists have {self._entries} entries together: they may have {MAX_ENTRIES}; give `first`"
            )


def _single(
    session: ReadSession, load: Callable[[ReadSession, Sequence[K]], Awaitable[Mapping[K, V]]]
) -> DataLoader[K, V | None]:
    async def batch(keys: list[K]) -> list[V | None]:
        found = await load(session, list(dict.fromkeys(keys)))
        return [found.get(key) for key in keys]

    return DataLoader(batch, cache=False)


def _listed(
    session: ReadSession,
    load: Callable[[ReadSession, Sequence[int], A], Awaitable[Mapping[int, V]]],
    empty: Callable[[], V],
    size: "_Size",
) -> DataLoader[tuple[int, A], V]:
    async def batch(keys: list[tuple[int, A]]) -> list[V]:
        by_arguments: dict[A, list[int]] = {}
        for parent, arguments in dict.fromkeys(keys):
            by_arguments.setdefault(arguments, []).append(parent)
        found = {arguments: await load(session, parents, arguments) for arguments, parents in by_arguments.items()}
        lists = [found[arguments].get(parent) or empty() for parent, arguments in keys]
        size.add(sum(len(one) for one in lists if isinstance(one, list)))
        return lists

    return DataLoader(batch, cache=False)
