"""A client of the API in the same process, over a database of the test."""

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import patch

import httpx
from sqlalchemy import event
from starlette.applications import Starlette

from db.observe import OBSERVERS, Statement
from db.settings import Settings
from db.statements import Readers
from graph.app import create_app
from graph.execution import Compiling

COMPILING = Compiling(os.environ.get("ATLAS_TEST_COMPILING", "always"))
"""How operations are answered: the whole suite must pass with `never` too."""


def cost(executed: int) -> int:
    """Return how many statements an operation costs that the executor needs so many for."""
    return executed if COMPILING is Compiling.NEVER else 1


class Client:
    """Asks the API, and counts what that costs the database."""

    def __init__(self, app: Starlette, http: httpx.AsyncClient) -> None:
        self.app = app
        self.http = http

    async def answer(self, query: str, /, **variables: Any) -> dict[str, Any]:
        """Return the whole response."""
        response = await self.http.post("/graphql", json={"query": query, "variables": variables})
        answer: dict[str, Any] = response.json()
        return answer

    async def ask(self, query: str, /, **variables: Any) -> Any:
        """Return the data; there must be no error."""
        answer = await self.answer(query, **variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def refusal(self, query: str, /, **variables: Any) -> tuple[str, str]:
        """Return the code and message of the one error there must be."""
        answer = await self.answer(query, **variables)
        (error,) = answer["errors"]
        return error["extensions"]["code"], error["message"]

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Collect the SQL that answers operations in the block; nothing is in the cache at its beginning."""
        collected: list[str] = []
        self.app.state.answers.memory.clear()
        read = Readers.row

        async def compiled(readers: Readers, sql: str, arguments: Sequence[Any]) -> Any:
            if not sql.startswith("SELECT version"):
                collected.append(sql)
            return await read(readers, sql, arguments)

        def executed(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            collected.append(statement)

        def loaded(statement: Statement) -> None:
            collected.append(statement.sql)

        engine = self.app.state.engine.sync_engine
        observers = engine.get_execution_options()[OBSERVERS]
        event.listen(engine, "before_cursor_execute", executed)
        observers.append(loaded)
        with patch.object(Readers, "row", compiled):
            try:
                yield collected
            finally:
                event.remove(engine, "before_cursor_execute", executed)
                observers.remove(loaded)


@asynccontextmanager
async def serving(url: str, **settings: Any) -> AsyncIterator[Client]:
    """Serve the database at a URL."""
    # A busy machine must not make a test fail that is not about time.
    app = create_app(Settings(database_url=None, **{"deadline_seconds": 60} | settings), url)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://atlas") as http,
    ):
        yield Client(app, http)
