"""Bring a database's tables up to the newest migration in `alembic/`."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from db.errors import DatabaseUnavailableError
from db.session import check_server, one_line

# A wheel carries them within the package.
_PACKAGED = Path(__file__).parent / "alembic"
SCRIPTS = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parent.parent / "alembic"


def configuration(url: str) -> Config:
    """Return Alembic's configuration for the database at the URL."""
    config = Config()
    config.set_main_option("script_location", SCRIPTS.as_posix())
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Create or migrate the tables; several processes may do so at once.

    Raises DatabaseUnavailableError when the server cannot be reached or refuses.
    """
    asyncio.run(check_server(url))
    try:
        command.upgrade(configuration(url), "head")
    except DBAPIError as error:
        raise DatabaseUnavailableError(f"the tables cannot be migrated: {one_line(error.orig or error)}") from error
