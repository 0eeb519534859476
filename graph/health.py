"""What load balancers ask: does the process live, and can it answer queries."""

import asyncio

import orjson
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import Response

from db.migrations import configuration

PATIENCE_SECONDS = 3


class JSONResponse(Response):
    """JSON written by orjson."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """Write JSON."""
        return orjson.dumps(content)


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
    problem = await _problem(request.app.state.engine, request.app.state.revisions)
    return JSONResponse({"status": "unavailable" if problem else "ok", "problem": problem}, 503 if problem else 200)


async def health(request: Request) -> Response:
    """Tell both."""
    problem = await _problem(request.app.state.engine, request.app.state.revisions)
    body = {"status": "unavailable" if problem else "ok", "live": True, "ready": not problem, "problem": problem}
    return JSONResponse(body, 503 if problem else 200)


async def _problem(engine: AsyncEngine, revisions: dict[str, bool]) -> str | None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), engine.connect() as connection:
            if await connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
                return "the database has no tables: migrate it"
            revision = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    except (OSError, TimeoutError, DBAPIError, SQLAlchemyError):
        return "the database cannot be reached"
    # A revision this code does not know is a newer one: during a rollout, old processes go on serving.
    return "the database's tables are older than this server: migrate it" if revisions.get(revision) is False else None
