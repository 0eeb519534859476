"""The file of sources: TOML with a table a source, each checked before anything is read.

[sources.posts]
kind = "rest"
url = "https://example.org/api/posts"
pagination = { by = "page", parameter = "page", size_parameter = "per_page", size = 100 }
auth = { env = "POSTS_TOKEN" }

[sources.posts.record]
id = "id"
title = "title"
description = "body"
updated = { path = "meta.updated", type = "timestamp" }
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from etl.source import SourceError

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")

FieldType = Literal["text", "integer", "number", "boolean", "date", "timestamp", "json"]
"""What a field holds; a value that is not of its declared type sends its row to quarantine."""


def _check_path(path: str) -> str:
    if not path or any(not part for part in path.split(".")):
        raise ValueError("give the names on the way to the value, joined by dots: meta.updated")
    return path


FieldPath = Annotated[str, AfterValidator(_check_path)]
"""Where a value stands in a row: names joined by dots; of a list, the number from 0. A key with dots is found too."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Model):
    """A column of the record: the field it is taken from, its type, and how a date is written (strptime's format)."""

    path: FieldPath
    type: FieldType | None = None
    format: str | None = None


class RecordMapping(_Model):
    """Which fields of a row become the columns of its record. What no column takes stays in its attributes.

    Without an `id` rows are told apart by their whole content.
    """

    id: tuple[FieldPath, ...] = ()
    title: Column | None = None
    value: Column | None = None
    description: Column | None = None
    created: Column | None = None
    updated: Column | None = None

    @model_validator(mode="before")
    @classmethod
    def _expand_paths(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        expanded = {
            name: {"path": given} if isinstance(given, str) and name != "id" else given for name, given in data.items()
        }
        if isinstance(expanded.get("id"), str):
            expanded["id"] = (expanded["id"],)
        return expanded


class _SourceConfig(_Model):
    record: RecordMapping = RecordMapping()
    types: Mapping[FieldPath, FieldType] = Field(
        default={}, description="Declared types of the fields that stay in the attributes."
    )
    max_failed_share: float = Field(default=0.1, ge=0, le=1, description="The share of bad rows that fails a run.")
    fresh_within_days: float | None = Field(
        default=None, gt=0, description="How old the newest row may be before the source counts as stale."
    )


class Auth(_Model):
    """A secret of the environment, sent as a bearer token, in a header, or as a parameter of the query."""

    env: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="The environment variable that holds the secret.")
    send: Literal["bearer", "header", "query"] = "bearer"
    name: str | None = Field(default=None, pattern=r"^[!-~]+$", description="The header's or the parameter's name.")

    @model_validator(mode="after")
    def _check_name(self) -> "Auth":
        if (self.send == "bearer") == (self.name is not None):
            raise ValueError("give `name` for a header or a query parameter, and none for a bearer token")
        return self


class ByPage(_Model):
    """Pages by number, until one has no rows."""

    by: Literal["page"]
    parameter: str = "page"
    first: int = 1
    size_parameter: str | None = None
    size: int = Field(default=100, ge=1, le=10_000)


class ByOffset(_Model):
    """Pages by the number of rows before them, until one has no rows."""

    by: Literal["offset"]
    parameter: str = "offset"
    size_parameter: str | None = "limit"
    size: int = Field(default=100, ge=1, le=10_000)


class ByCursor(_Model):
    """Each answer holds the cursor of the next page at `path`; none, or null, on the last."""

    by: Literal["cursor"]
    parameter: str = "cursor"
    path: FieldPath
    size_parameter: str | None = None
    size: int = Field(default=100, ge=1, le=10_000)


class ByLink(_Model):
    """The next page's address is the answer's Link header with rel="next" (RFC 8288)."""

    by: Literal["link"]


class ByNextUrl(_Model):
    """Each answer holds the address of the next page at `path`; none, or null, on the last."""

    by: Literal["next_url"]
    path: FieldPath


Pagination = Annotated[ByPage | ByOffset | ByCursor | ByLink | ByNextUrl, Field(discriminator="by")]


class Incremental(_Model):
    """Only what changed: the greatest value of a field that a complete run has seen is sent with the next run."""

    field: FieldPath
    parameter: str


class RestConfig(_SourceConfig):
    """A REST API that answers in JSON. `rows` is the path to the rows in an answer; without it the answer is a list."""

    kind: Literal["rest"]
    url: str = Field(pattern=r"^https?://[^\s]+$")
    rows: FieldPath | None = None
    query: Mapping[str, str | int | float | bool] = {}
    headers: Mapping[str, str] = {}
    auth: Auth | None = None
    pagination: Pagination | None = None
    incremental: Incremental | None = None
    requests_per_second: float = Field(default=5, gt=0, le=1000)
    max_pages: int = Field(default=100_000, ge=1, description="A source with more pages than that never ends.")

    @model_validator(mode="after")
    def _check_secrets(self) -> "RestConfig":
        # What is configured is recorded with each run.
        parts = urlsplit(self.url)
        if not parts.hostname or parts.port == 0 or parts.username is not None:
            raise ValueError(
                "give the url as https://host/path, without a password: `auth` takes it from the environment"
            )
        for name, value in self.headers.items():
            if name.lower() in ("authorization", "proxy-authorization", "cookie"):
                raise ValueError(f"{name} holds a secret: `auth` takes it from the environment")
            if not (name + value).isprintable():
                raise ValueError(f"the header {name!r} has characters that HTTP does not allow")
        return self


class CsvConfig(_SourceConfig):
    """A CSV file: a path, an http(s) or S3 address; packed or not. What is not given is detected."""

    kind: Literal["csv"]
    location: str
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    encoding: str | None = None
    header: bool | tuple[str, ...] | None = Field(
        default=None, description="Whether the first row has the names, or the names, when it has not."
    )


class JsonLinesConfig(_SourceConfig):
    """A file with a JSON object a line: a path, an http(s) or S3 address; packed or not."""

    kind: Literal["jsonl"]
    location: str


SourceConfig = Annotated[RestConfig | CsvConfig | JsonLinesConfig, Field(discriminator="kind")]


class SourcesFile(_Model):
    """The whole file."""

    sources: Mapping[str, SourceConfig]

    @model_validator(mode="after")
    def _check_names(self) -> "SourcesFile":
        for name in self.sources:
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a source's name: use a to z, 0 to 9, - and _, at most 63")
        return self


def read_sources(file: Path) -> dict[str, SourceConfig]:
    """Read the file of sources; raises SourceError, a line for each thing that is wrong."""
    try:
        parsed = tomllib.loads(file.read_text("utf-8"))
        found = dict(SourcesFile.model_validate(parsed).sources)
    except FileNotFoundError as error:
        raise SourceError(f"there is no {file}: write one, or name another with --config") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SourceError(f"{file} cannot be read: {error}") from error
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise SourceError(f"{file} is not right:\n" + "\n".join(lines)) from error
    return found
