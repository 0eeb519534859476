import asyncio

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import text

from db.migrations import configuration, upgrade
from db.session import write_engine
from tests.conftest import Clone


def tables(url: str) -> set[str]:
    async def read() -> set[str]:
        engine = write_engine(url)
        async with engine.connect() as connection:
            found = await connection.execute(
                text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'")
            )
            names = {row[0] for row in found}
        await engine.dispose()
        return names

    return asyncio.run(read())


def test_migrated_database_equals_the_models(database: str) -> None:
    # It raises, with the differences, where there are any.
    command.check(configuration(database))


def test_history_has_one_head(database: str) -> None:
    assert len(ScriptDirectory.from_config(configuration(database)).get_heads()) == 1


def test_upgrade_downgrade_and_upgrade_again(clone: Clone) -> None:
    url = clone("template0")
    upgrade(url)
    made = tables(url)
    assert {"entity", "influence", "etl_run"} <= made
    command.downgrade(configuration(url), "base")
    assert tables(url) == set()
    upgrade(url)
    assert tables(url) == made
