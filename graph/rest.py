"""Records and statistics over plain HTTP, for programs that do not speak GraphQL: `/data`, `/stats`."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from db import operations, records, run_details
from db.reading import ReadSession
from db.record_filters import AllOf, ColumnTest
from db.record_keys import RecordPage, Wanted
from graph.access import Caller
from graph.admission import Account, payer
from graph.answers import JSONResponse, error_answer, problem
from graph.budget import Budget
from graph.errors import Code, RequestError, check_text, request_id
from graph.gate import caller_of
from graph.openapi import document
from graph.record_filters import check_value
from graph.records import check_search, read_position, write_position
from graph.rest_answers import DataAnswer, RecordAnswer, SourceAnswer, StatsAnswer
from graph.rest_parameters import TESTS, DataParameters, NoParameters, read_parameters

T = TypeVar("T")

COUNT_COST, RECORD_COST, STATS_COST = 20, 20, 400
"""What a page's total, each of its records and the statistics cost: about as much as GraphQL's."""


async def data(request: Request) -> Response:
    """Give a page of records."""
    begun = time.perf_counter()
    parameters = read_parameters(request.query_params, DataParameters)
    window = parameters.window()
    wanted = _wanted(parameters)
    account = await _charge(request, COUNT_COST + RECORD_COST * window.size)
    if account.refusal:
        return _refused(account, account.refusal)
    position = None
    if parameters.cursor is not None:
        position = _checked(lambda _, cursor: read_position(cursor, parameters.order), "cursor", parameters.cursor)
    is_within = position is not None and position.source == wanted.source
    page = RecordPage(
        wanted, parameters.order, window.size, position, is_within=is_within, offset=window.offset or None
    )
    async with _reading(request) as session:
        found, has_more = await records.record_page(session, page)
        total = await records.count_records(session, wanted)
    answer = DataAnswer(
        data=[RecordAnswer.of(row) for row in found],
        total=total.count,
        total_kind="EXACT" if total.is_exact else "ESTIMATED",
        page=window.page,
        page_size=window.size,
        has_more=has_more,
        next_cursor=write_position(records.position_of(found[-1]), parameters.order) if has_more else None,
        request_id=request_id(),
        api_latency_ms=_milliseconds(begun),
    )
    return JSONResponse(answer, headers=account.told())


async def stats(request: Request) -> Response:
    """Tell what there is and how it came."""
    begun = time.perf_counter()
    read_parameters(request.query_params, NoParameters)
    account = await _charge(request, STATS_COST)
    if account.refusal:
        return _refused(account, account.refusal)
    async with _reading(request) as session:
        version = await operations.data_version(session)
        waiting = await operations.open_quarantine(session)
        entities = await operations.entity_counts(session)
        edges = await operations.edge_counts(session)
        runs = await operations.status_counts(session)
        answer = StatsAnswer(
            data_version=None if version is None else version.version,
            records=await operations.count_all_records(session),
            raw_records=await operations.count_raw(session, operations.RawFilter()),
            entities={kind.value: count for kind, (count, _) in entities.items()},
            edges={edge_type.value: count for edge_type, (count, _) in edges.items()},
            runs={status.value: count for status, count in runs.items()},
            open_quarantine=sum(waiting.values()),
            sources=await _sources(session, caller_of(request)),
            request_id=request_id(),
            api_latency_ms=_milliseconds(begun),
        )
    return JSONResponse(answer, headers=account.told())


async def openapi(request: Request) -> Response:
    """Describe these endpoints."""
    read_parameters(request.query_params, NoParameters)
    return JSONResponse(_document())


async def _charge(request: Request, cost: int) -> Account:
    budget: Budget | None = request.app.state.budget
    return Account(cost, cost, await budget.charge(payer(request.scope), cost) if budget else None)


def _refused(account: Account, refusal: RequestError) -> Response:
    return error_answer(refusal.message, Code.LIMIT, 429, headers=account.told())


async def _sources(session: ReadSession, caller: Caller) -> list[SourceAnswer]:
    states = await operations.source_states(session)
    names = [state.source for state in states]
    kinds = await run_details.kinds_by_source(session, names)
    counts = await records.counts_by_source(session, names)
    qualities = await run_details.quality_by_source(session, names)
    return [
        SourceAnswer.of(
            state, caller, kinds.get(state.source), counts.get(state.source, 0), qualities.get(state.source)
        )
        for state in states
    ]


def _wanted(parameters: DataParameters) -> Wanted:
    given = {name: value for name in TESTS if (value := getattr(parameters, name)) is not None}
    tests = tuple(ColumnTest(*TESTS[name], _checked(check_value, name, value)) for name, value in given.items())
    source, search = parameters.source, parameters.search
    return Wanted(
        source=None if source is None else _checked(check_text, "source", source),
        search=None if search is None else _checked(lambda _, words: check_search(words), "search", search),
        filter=AllOf(tests) if tests else None,
    )


def _checked(check: Callable[[str, Any], T], name: str, value: Any) -> T:
    try:
        return check(name, value)
    except RequestError as error:
        raise problem(name, value, error.message) from error


@asynccontextmanager
async def _reading(request: Request) -> AsyncIterator[ReadSession]:
    session = ReadSession(request.app.state.engine)
    try:
        yield session
    finally:
        await session.close()


def _milliseconds(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1000, 1)


@cache
def _document() -> dict[str, Any]:
    return document()
