"""What Prometheus reads at /metrics; docs/monitoring tells each metric, with alerts and a dashboard."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from typing import Any

from aiodataloader import DataLoader
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncEngine

from db.observe import Statement
from db.reading import ReadSession
from db.run_totals import EtlTotals, etl_totals
from db.session import READ_ERRORS
from db.statements import Readers
from graph.series import Counter, Histogram, Observed

MAX_NAMES = 100
"""How many names of operations are told apart: clients choose them, and each costs some 20 time series."""

UNNAMED, OTHER = "unnamed", "other"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)
TOTALS_TTL_SECONDS = 15
TOTALS_PATIENCE_SECONDS = 3
METHODS = ("GET", "POST", "HEAD", "OPTIONS")

Load = Callable[[list[Any]], Coroutine[Any, Any, list[Any]]]


class Metrics:
    """The metrics of one application, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = self._counter("http_requests", "Requests answered.", "route", "method", "status").values
        self._operations = self._counter(
            "operations", "GraphQL operations, by name and outcome.", "operation", "outcome"
        ).values
        self._operation_seconds = self._histogram(
            "operation_seconds", "Time from a GraphQL operation to its answer.", SECONDS, "operation"
        )
        self._named: dict[str | None, Observed] = {}
        self._sql_seconds = self._histogram("sql_seconds", "Time of SQL statements.", SECONDS).of()
        self._sql_failures = self._counter("sql_failures", "SQL statements that failed, by error.", "error").values
        self._batch_size = self._histogram("loader_batch_size", "Keys in a loader's batch.", BATCH_SIZES, "loader")

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        counter = Counter(f"atlas_{name}", description, *labels)
        self.registry.register(counter)
        return counter

    def _histogram(self, name: str, description: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        histogram = Histogram(f"atlas_{name}", description, bounds, *labels)
        self.registry.register(histogram)
        return histogram

    def count_request(self, route: str, method: str, status: int) -> None:
        """Count a response."""
        self._requests[route, method if method in METHODS else OTHER, status] += 1

    def count_operation(self, name: str | None, outcome: str, seconds: float) -> None:
        """Count an operation; `outcome` is "ok" or an error's code."""
        observed = self._named.get(name)
        if observed is None:
            name = self._admitted(name, outcome)
            observed = self._operation_seconds.of(name)
        observed.add(seconds)
        self._operations[name or UNNAMED, outcome] += 1

    def _admitted(self, name: str | None, outcome: str) -> str:
        # A name is worth its time series once an operation of it was answered.
        if name is None:
            self._named[None] = self._operation_seconds.of(UNNAMED)
            return UNNAMED
        if outcome != "ok" or len(self._named) - (None in self._named) >= MAX_NAMES:
            return OTHER
        self._named[name] = self._operation_seconds.of(name)
        return name

    def count_statement(self, statement: Statement) -> None:
        """Count a statement of SQL."""
        self._sql_seconds.add(statement.seconds, statement.times)
        if statement.failure:
            self._sql_failures[statement.failure,] += 1

    def watch_loaders(self, loaders: object) -> None:
        """Have the size of each batch of an operation's loaders counted."""
        for name, loader in vars(loaders).items():
            if isinstance(loader, DataLoader):
                loader.batch_load_fn = self._counting(name, loader.batch_load_fn)

    def _counting(self, name: str, load: Load) -> Load:
        async def counted(keys: list[Any]) -> list[Any]:
            self._batch_size.of(name).add(len(keys))
            return await load(keys)

        return counted

    def watch_readers(self, readers: Readers) -> None:
        """Have all statements of their engine counted, its pool told, and the ETL's totals read through it."""
        readers.observe(self.count_statement)
        engine = readers.engine
        self.totals = Totals(engine)
        self.registry.register(self.totals)
        self.registry.register(Pool(engine))

    def watch_cache(self, reads: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        """Tell look-ups of answers, by what tells their numbers by level and result."""
        self.registry.register(CacheReads(reads))

    def watch_breakers(self, breakers: Mapping[str, Callable[[], bool]]) -> None:
        """Tell which dependencies are left alone, by what tells whether a breaker is open."""
        self.registry.register(Breakers(breakers))

    async def page(self, accept: str) -> tuple[bytes, str]:
        """Return everything in the form that an Accept header prefers, and its media type."""
        await self.totals.refresh()
        return self.written(accept)

    def written(self, accept: str) -> tuple[bytes, str]:
        """Return the same without reading the ETL's totals anew."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type


class Pool(Collector):
    """The pool of database connections."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Give the pool's state."""
        pool: Any = self._engine.sync_engine.pool
        family = GaugeMetricFamily("atlas_pool_connections", "Database connections, by what they do.", labels=["state"])
        for state, count in (("busy", pool.checkedout()), ("idle", pool.checkedin()), ("limit", pool.size())):
            family.add_metric([state], count)
        yield family


class CacheReads(Collector):
    """Look-ups of answers."""

    def __init__(self, reads: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self._reads = reads

    def collect(self) -> Iterator[Metric]:
        """Give the numbers of look-ups."""
        description = "Look-ups of answers in the cache."
        family = CounterMetricFamily("atlas_cache_reads", description, labels=["level", "result"])
        for labels, count in self._reads().items():
            family.add_metric(labels, count)
        yield family


class Breakers(Collector):
    """The breakers of dependencies."""

    def __init__(self, breakers: Mapping[str, Callable[[], bool]]) -> None:
        self._breakers = breakers

    def collect(self) -> Iterator[Metric]:
        """Give the breakers' states."""
        description = "1 while a dependency is left alone after failures."
        family = GaugeMetricFamily("atlas_breaker_open", description, labels=["dependency"])
        for name, is_open in self._breakers.items():
            family.add_metric([name], float(is_open()))
        yield family


class Totals(Collector):
    """The ETL's totals, read from the database at most every `TOTALS_TTL_SECONDS`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._turn = asyncio.Lock()
        self._read_at = float("-inf")
        self._totals = EtlTotals()
        self._is_up = False

    async def refresh(self) -> None:
        """Read the totals if they are old; when that fails the old ones stay, and `atlas_database_up` is 0."""
        async with self._turn:
            if time.monotonic() - self._read_at < TOTALS_TTL_SECONDS:
                return
            session = ReadSession(self._engine)
            self._is_up = False
            try:
                with suppress(*READ_ERRORS):
                    async with asyncio.timeout(TOTALS_PATIENCE_SECONDS):
                        self._totals = await etl_totals(session)
                    self._is_up, self._read_at = True, time.monotonic()
            finally:
                await session.close()

    def collect(self) -> Iterator[Metric]:
        """Give the totals as they were read last."""
        yield GaugeMetricFamily("atlas_database_up", "1 when the last reading of the ETL's totals worked.", self._is_up)
        version = self._totals.data_version
        yield GaugeMetricFamily("atlas_data_version", "The version of the data.", version)
        by_status = ["source", "status"]
        runs = GaugeMetricFamily("atlas_etl_runs", "Runs of the ETL that stand at a status.", labels=by_status)
        description = "The number of the last run of a status; later runs have higher ones."
        last = GaugeMetricFamily("atlas_etl_last_run", description, labels=by_status)
        description = "When the last run of a status ended, in seconds since 1970."
        ended = GaugeMetricFamily("atlas_etl_last_end_timestamp_seconds", description, labels=by_status)
        rows: dict[tuple[str, str], int] = {}
        for total in self._totals.by_source_and_status:
            runs.add_metric([total.source, total.status], total.runs)
            last.add_metric([total.source, total.status], total.last_run)
            if total.last_finished_at is not None:
                ended.add_metric([total.source, total.status], total.last_finished_at.timestamp())
            for result in ("inserted", "updated", "unchanged", "failed"):
                key = (total.source, result)
                rows[key] = rows.get(key, 0) + getattr(total, result)
        yield from (runs, last, ended, _rows(rows), _waiting(self._totals))


def _rows(counts: dict[tuple[str, str], int]) -> Metric:
    family = CounterMetricFamily("atlas_etl_rows", "Rows that the ETL processed.", labels=["source", "result"])
    for labels, count in counts.items():
        family.add_metric(labels, count)
    return family


def _waiting(totals: EtlTotals) -> Metric:
    family = GaugeMetricFamily("atlas_etl_quarantine", "Rows that wait in quarantine.", labels=["source"])
    for source, count in totals.open_quarantine:
        family.add_metric([source], count)
    return family
