"""Alembic's environment: the URL comes from db.migrations or from DATABASE_URL."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text

from db.models import Base
from db.roles import ALLOW_READING
from db.session import write_engine
from db.settings import Settings

MIGRATION_LOCK = 0x41544C4153
"""Key of the advisory lock that lets one process migrate while the others wait."""


def is_compared(name: str | None, kind: str, parents: object) -> bool:  # noqa: ARG001
    """Leave out the partitions, which the models do not name."""
    return kind != "table" or not str(name).startswith("raw_record_")


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_server_default=True,
        include_name=is_compared,
    )
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        context.run_migrations()
        connection.exec_driver_sql(ALLOW_READING)


async def migrate() -> None:
    url = context.config.attributes.get("url") or Settings().database_url
    if not url:
        raise SystemExit("set DATABASE_URL to the database to migrate")
    engine = write_engine(url)
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


asyncio.run(migrate())
