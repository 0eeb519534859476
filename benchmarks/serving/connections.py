"""Connections with prepared statements, for the servers that are written by hand to be compared with."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

POOL_SIZE = int(os.environ.get("POOL_SIZE", "10"))
SQL = Path(__file__).parent / "sql"

Statements = dict[str, PreparedStatement]


class Connections:
    """A pool without the RESET ALL that asyncpg's own sends after every use: nothing here changes a session."""

    def __init__(self) -> None:
        self._idle: asyncio.LifoQueue[Statements] = asyncio.LifoQueue()

    async def open(self, statements: dict[str, str]) -> None:
        """Connect to DATABASE_URL, and prepare the statements on every connection."""
        for _ in range(POOL_SIZE):
            connection = await asyncpg.connect(os.environ["DATABASE_URL"], server_settings={"jit": "off"})
            self._idle.put_nowait({name: await connection.prepare(text) for name, text in statements.items()})

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Statements]:
        """Lend the statements of a connection."""
        statements = await self._idle.get()
        try:
            yield statements
        finally:
            self._idle.put_nowait(statements)


def read(*names: str) -> dict[str, str]:
    """Return the statements kept in files."""
    return {name: (SQL / f"{name}.sql").read_text(encoding="utf-8") for name in names}


def read_roadmap() -> str:
    """Return the statement of a roadmap as one row."""
    return "\n".join(read("roadmap_parts", "roadmap").values())
