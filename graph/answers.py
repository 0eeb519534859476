"""JSON answers beside GraphQL's: how they are written, and what they say when something is wrong."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from db.session import one_line
from graph.errors import MASKED, OURS, PASSING, RETRY_SECONDS, Code, explain, request_id

logger = logging.getLogger(__name__)

STATUSES = {
    Code.BAD_INPUT: 400,
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.UNAVAILABLE: 503,
    Code.TIMEOUT: 504,
}
MAX_SHOWN_CHARACTERS = 60
MAX_PROBLEMS = 20
GRAPHQL_PATH = "/graphql"


class JSONResponse(Response):
    """JSON written by orjson."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """Write JSON."""
        return orjson.dumps(content)


@dataclass(frozen=True, slots=True)
class Problem:
    """A parameter that cannot be used."""

    field: Annotated[str, Field(description="The parameter's name.")]
    value: Annotated[str | None, Field(description="What was given, cut when long; null when nothing was.")]
    fix: Annotated[str, Field(description="What to do about it.")]


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What went wrong."""

    error: Annotated[str, Field(description="What was wrong, with the value, and what to do.")]
    code: Annotated[str, Field(description="What kind of error it is: clients may rely on it.")]
    problems: Annotated[list[Problem], Field(description="The parameters that cannot be used, 20 at most.")]
    request_id: Annotated[str | None, Field(description="The request's id: name it when you report the error.")]


class ParameterError(Exception):
    """Parameters of a request cannot be used."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = list(problems)[:MAX_PROBLEMS]


def problem(field: str, value: object, fix: str) -> ParameterError:
    """Make the error of one parameter."""
    shown = None if value is None else str(value)[:MAX_SHOWN_CHARACTERS]
    return ParameterError([Problem(field, shown, fix)])


async def refuse(_request: Request, error: Exception) -> Response:
    """Answer a request whose parameters cannot be used."""
    assert isinstance(error, ParameterError)
    message = "; ".join(f"{one.field} is {one.value!r}: {one.fix}" for one in error.problems[:5])
    return error_answer(message, Code.BAD_INPUT, 400, problems=error.problems)


async def say_what_is_wrong(request: Request, error: Exception) -> Response:
    """Answer a request for what is not here."""
    assert isinstance(error, HTTPException)
    path = request.url.path[:MAX_SHOWN_CHARACTERS]
    message = f"{request.method} {path}: {error.detail}. GET / tells what is here."
    code = Code.NOT_FOUND if error.status_code == 404 else Code.BAD_INPUT
    return error_answer(message, code, error.status_code, headers=error.headers)


def failure(error: Exception) -> Response:
    """Answer a request that failed; what nobody foresaw is logged and masked."""
    code, message = explain(error) or (Code.INTERNAL, MASKED)
    if code is Code.INTERNAL:
        logger.error("a request failed", exc_info=error)
    elif code is Code.UNAVAILABLE:
        logger.warning("the database is not available: %s", one_line(error))
    headers = {"retry-after": str(RETRY_SECONDS)} if code in PASSING else None
    return error_answer(message, code, STATUSES.get(code, 500), headers=headers)


def graphql_error(message: str, code: Code) -> dict[str, Any]:
    """Return the body of a GraphQL answer to a request that was refused before anything was executed."""
    extensions = {"code": code.value}
    if code in OURS and (of_request := request_id()) is not None:
        extensions["requestId"] = of_request
    return {"errors": [{"message": message, "extensions": extensions}]}


def refused_at(path: str, message: str, code: Code, status: int, headers: Any) -> Response:
    """Answer with an error, before any route is reached, in the form of the path's own answers."""
    if path != GRAPHQL_PATH:
        return error_answer(message, code, status, headers=headers)
    return JSONResponse(graphql_error(message, code), status, headers=headers)


def error_answer(
    message: str, code: Code, status: int, *, problems: Sequence[Problem] = (), headers: Any = None
) -> Response:
    """Answer with an error."""
    answer = ErrorAnswer(message, code.value, list(problems), request_id())
    return JSONResponse(answer, status, headers=headers)
