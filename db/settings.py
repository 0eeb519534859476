"""The settings of every process, read once at its entry point and passed in."""

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from db.errors import ConfigurationError

SECRETS = {"database_url": "DATABASE_URL", "redis_url": "REDIS_URL", "jwt_secret": "ATLAS_JWT_SECRET"}
"""Settings that hold a secret, and their variables: <variable>_FILE names a file to read it from instead."""

Algorithm = Literal["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "ES256", "ES384"]

_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s]+")


class Settings(BaseSettings):
    """What can be set from the environment: DATABASE_URL, REDIS_URL, and ATLAS_* for the rest."""

    model_config = SettingsConfigDict(env_prefix="ATLAS_", frozen=True, populate_by_name=True)

    database_url: str | None = Field(
        default=None,
        validation_alias="DATABASE_URL",
        repr=False,
        description="PostgreSQL to use instead of the embedded one: postgresql://user:password@host/name",
    )
    redis_url: str | None = Field(
        default=None,
        validation_alias="REDIS_URL",
        repr=False,
        description="Redis that shares answers between processes, beside each one's memory: redis://host:6379/0",
    )
    data_dir: Path = Field(default=Path("data"), description="Directory of the embedded PostgreSQL")
    host: str = Field(default="127.0.0.1", description="Address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Origins allowed to query from a browser: '[\"https://example.org\"]'"
    )
    pool_size: int = Field(
        default=10,
        ge=1,
        le=38,
        description="Database connections a process may hold, beside two for version and health",
    )
    deadline_seconds: float = Field(
        default=4, ge=0.001, le=3600, description="The longest a request may take, and a query of the API in PostgreSQL"
    )
    query_budget_per_minute: int = Field(
        default=0,
        ge=0,
        description="What operations of one address may cost in a minute (see docs/limits.md); 0 for any",
    )
    suggestions: bool = Field(
        default=True, description="Whether errors suggest names that the schema has, as `Did you mean 'name'?`"
    )
    contact: str | None = Field(
        default=None, description="E-mail address or URL of whoever runs the ETL, told to the services it asks"
    )
    jwt_secret: SecretStr | None = Field(
        default=None,
        description="Secret that callers' bearer tokens are signed with; without it or JWKS anyone may read",
    )
    jwks: str | None = Field(
        default=None, description="URL or file of the public keys (JWKS) that bearer tokens are signed with"
    )
    jwt_algorithm: Algorithm | None = Field(
        default=None, description="The one signature algorithm of tokens [HS256 with a secret, RS256 with JWKS]"
    )
    jwt_issuer: str | None = Field(default=None, description="Who must have issued a token: its `iss`")
    jwt_audience: str | None = Field(default=None, description="Whom a token must be meant for: its `aud`")
    introspection: bool = Field(default=True, description="Whether clients may read the schema, with GraphiQL too")
    otlp_endpoint: str | None = Field(
        default=None,
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Where to send traces, which needs the extra `otel`: http://127.0.0.1:4318",
    )
    documents_file: Path | None = Field(
        default=None,
        description="JSON object of the GraphQL documents that are answered, by their SHA-256 or name; no others are",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read options, then variables, then the files that variables name."""
        return init_settings, env_settings, _SecretFiles(settings_cls)

    @field_validator(
        "database_url",
        "contact",
        "redis_url",
        "jwt_secret",
        "jwks",
        "jwt_algorithm",
        "jwt_issuer",
        "jwt_audience",
        "otlp_endpoint",
        "documents_file",
        mode="before",
    )
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


class _SecretFiles(PydanticBaseSettingsSource):
    """Secrets in files, as Docker and Kubernetes mount them; raises ConfigurationError for one that cannot be read."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return a setting's value, the key it is known by, and that it is not JSON."""
        variable = f"{SECRETS.get(field_name, '')}_FILE"
        key = field.validation_alias if isinstance(field.validation_alias, str) else field_name
        path = os.environ.get(variable) if field_name in SECRETS else None
        try:
            # Editors end a file with a line break, which is no part of a secret.
            return (Path(path).read_text(encoding="utf-8").rstrip("\r\n") if path else None), key, False
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
            raise ConfigurationError(f"{variable} names {path}, which cannot be read: {reason}") from error

    def __call__(self) -> dict[str, Any]:
        """Return the settings found in files."""
        found = [self.get_field_value(field, name) for name, field in self.settings_cls.model_fields.items()]
        return {key: value for value, key, _ in found if value is not None}


def _read_json(text: str) -> object:
    try:
        return json.loads(text or "[]")
    except ValueError:
        return None


def _is_origin(value: object) -> bool:
    return isinstance(value, str) and _ORIGIN.fullmatch(value) is not None
