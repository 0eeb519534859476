"""What load balancers and people ask: does the process live, can it answer queries, how did the ETL go?"""

import asyncio
from dataclasses import dataclass
from typing import Literal

from alembic.script import ScriptDirectory
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from db.errors import DatabaseUnavailableError
from db.migrations import configuration
from db.models.operations import EtlRun
from db.session import was_lost
from graph.answers import JSONResponse
from graph.gate import caller_of
from graph.rest_answers import HealthAnswer, ReadyAnswer, RunAnswer

PATIENCE_SECONDS = 2
STOPPING = "the server is stopping"


@dataclass(frozen=True, slots=True)
class _State:
    is_connected: bool
    problem: str | None
    last_run: EtlRun | None = None


def known_revisions() -> dict[str, bool]:
    """Return the migrations this code knows, and whether each is the newest."""
    scripts = ScriptDirectory.from_config(configuration(""))
    newest = scripts.get_current_head()
    return {script.revision: script.revision == newest for script in scripts.walk_revisions()}


async def live(_request: Request) -> Response:
    """Tell that the process answers."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    """Tell whether queries can be answered: 200 or 503."""
    state = request.app.state
    problem = STOPPING if state.is_draining else (await _look(request)).problem
    answer = ReadyAnswer("unavailable" if problem else "ok", problem, _breakers(request))
    return JSONResponse(answer, 503 if problem else 200)


async def health(request: Request) -> Response:
    """Tell both, and how the ETL's newest run went."""
    state = await _look(request)
    last_run = None if state.last_run is None else RunAnswer.of(state.last_run, caller_of(request))
    answer = HealthAnswer(
        status="unavailable" if state.problem else "ok",
        live=True,
        ready=not state.problem,
        problem=state.problem,
        db_connected=state.is_connected,
        last_etl_run=last_run,
        etl_status=None if last_run is None else last_run.status,
        breakers=_breakers(request),
    )
    return JSONResponse(answer, 503 if state.problem else 200)


def _breakers(request: Request) -> dict[str, Literal["closed", "open"]]:
    return {name: "open" if is_open() else "closed" for name, is_open in request.app.state.breakers.items()}


async def _look(request: Request) -> _State:
    """Look once for all who ask at the same time: there is one connection for it."""
    state = request.app.state
    if state.look is None or state.look.done():
        state.look = asyncio.create_task(_look_at(state.apart, state.revisions))
    found: _State = await asyncio.shield(state.look)
    return found


async def _look_at(engine: AsyncEngine, revisions: dict[str, bool], *, is_again: bool = False) -> _State:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), engine.connect() as connection:
            return await _inspect(connection, revisions)
    except (OSError, TimeoutError, SQLAlchemyError, DatabaseUnavailableError) as error:
        if was_lost(error) and not is_again:
            return await _look_at(engine, revisions, is_again=True)
        return _State(is_connected=False, problem="the database cannot be reached")


async def _inspect(connection: AsyncConnection, revisions: dict[str, bool]) -> _State:
    if await connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return _State(is_connected=True, problem="the database has no tables: migrate it")
    revision = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    # A revision this code does not know is a newer one: during a rollout, old processes go on serving.
    if revisions.get(revision) is False:
        return _State(is_connected=True, problem="the database's tables are older than this server: migrate it")
    newest = select(EtlRun).order_by(EtlRun.id.desc()).limit(1)
    async with AsyncSession(connection) as session:
        return _State(is_connected=True, problem=None, last_run=await session.scalar(newest))
