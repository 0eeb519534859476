"""The settings of every process, read once at its entry point and passed in."""

import json
import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s]+")


class Settings(BaseSettings):
    """What can be set from the environment: DATABASE_URL, REDIS_URL, and ATLAS_* for the rest."""

    model_config = SettingsConfigDict(env_prefix="ATLAS_", frozen=True, populate_by_name=True)

    database_url: str | None = Field(
        default=None,
        validation_alias="DATABASE_URL",
        description="PostgreSQL to use instead of the embedded one: postgresql://user:password@host/name",
    )
    redis_url: str | None = Field(
        default=None,
        validation_alias="REDIS_URL",
        description="Redis that keeps answers for several processes, instead of each one's memory: redis://host:6379/0",
    )
    data_dir: Path = Field(default=Path("data"), description="Directory of the embedded PostgreSQL")
    host: str = Field(default="127.0.0.1", description="Address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Origins allowed to query from a browser: '[\"https://example.org\"]'"
    )
    pool_size: int = Field(default=10, ge=1, le=40, description="Database connections a process may hold")
    statement_timeout_seconds: float = Field(
        default=10, ge=0.001, le=86_400, description="The longest a query of the API may run in PostgreSQL"
    )
    contact: str | None = Field(
        default=None, description="E-mail address or URL of whoever runs the ETL, told to the services it asks"
    )

    @field_validator("database_url", "contact", "redis_url", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return value or None

    @field_validator("data_dir")
    @classmethod
    def _expand_home(cls, value: Path) -> Path:
        try:
            return value.expanduser()
        except RuntimeError as error:
            raise ValueError("there is no such home directory") from error

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _read_origins(cls, value: object) -> object:
        origins = _read_json(value) if isinstance(value, str) else value
        if not isinstance(origins, list | tuple) or not all(_is_origin(origin) for origin in origins):
            # A browser sends exactly scheme, host and port: anything else would never match.
            raise ValueError('give a JSON list of origins without a path, such as ["https://example.org"]')
        return tuple(origins)


def _read_json(text: str) -> object:
    try:
        return json.loads(text or "[]")
    except ValueError:
        return None


def _is_origin(value: object) -> bool:
    return isinstance(value, str) and _ORIGIN.fullmatch(value) is not None
