"""The settings of every process, read once at its entry point and passed in."""

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


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
    cors_origins: tuple[str, ...] = Field(
        default=(), description="Origins allowed to query from a browser: '[\"https://example.org\"]'"
    )
    pool_size: int = Field(default=10, ge=1, le=40, description="Database connections a process may hold")
    statement_timeout_seconds: float = Field(
        default=10, gt=0, description="The longest a query of the API may run in PostgreSQL"
    )
    contact: str | None = Field(
        default=None, description="E-mail address or URL of whoever runs the ETL, told to the services it asks"
    )

    @field_validator("database_url", "contact", "redis_url", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return value or None
