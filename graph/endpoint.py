"""GraphQL over HTTP (https://graphql.github.io/graphql-over-http/draft/): requests and their answers."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send
from strawberry.http.parse_content_type import parse_content_type

from graph.answers import STATUSES
from graph.context import Context
from graph.errors import Code
from graph.execution import AtlasSchema, Source
from graph.gate import caller_of

JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"

EXAMPLE = '{"query": "{ dataVersion { version } }"}'


class Endpoint:
    """The GraphQL endpoint; the app's state must hold engine, cache and watch while it serves.

    Without a page, there is no GraphiQL.
    """

    def __init__(self, schema: AtlasSchema, page: Callable[[], str] | None) -> None:
        self._schema = schema
        self._page = page
        self._source: Source | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; what is not one of GraphQL gets an error in GraphQL's form."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except HTTPException as refusal:
            response = _refuse(request, refusal)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method == "POST":
            data = await _posted(request)
        elif request.method == "GET":
            if self._page is not None and _is_for_a_person(request):
                return HTMLResponse(self._page(), headers={"vary": "accept"})
            data = _in_url(request)
        else:
            raise HTTPException(405, f"the method is {request.method}: send GET or POST")
        _member(data, "extensions", dict, "an object")
        state = request.app.state
        if self._source is None or self._source.readers.engine is not state.engine:
            self._source = Source(state.engine)
        answer = await self._schema.answer(
            self._source,
            Context(state.engine, state.cache, caller_of(request), state.watch),
            _member(data, "query", str, "a string"),
            _member(data, "variables", dict, "an object"),
            _member(data, "operationName", str, "a string") or None,
        )
        media_type = accepted_media_type(request.headers.get("accept", ""))
        # 400 is only for GraphQL's own media type: clients of plain JSON look for errors in the body.
        status = 200 if answer.was_executed or media_type == JSON else _not_executed(answer.outcome)
        return _respond(answer.body, status, media_type)


@lru_cache(maxsize=256)
def accepted_media_type(accept: str) -> str:
    """Return the one of GraphQL's two media types that an Accept header prefers; JSON when it names none."""
    best, best_quality = JSON, 0.0
    for part in accept.split(","):
        name, _, parameters = part.partition(";")
        quality = _quality(parameters)
        if name.strip().lower() in (JSON, GRAPHQL_JSON) and quality > best_quality:
            best, best_quality = name.strip().lower(), quality
    return best


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _is_for_a_person(request: Request) -> bool:
    """Tell browsers that bring no query: they get GraphiQL."""
    return "query" not in request.query_params and "text/html" in request.headers.get("accept", "")


async def _posted(request: Request) -> Mapping[str, Any]:
    content_type = request.headers.get("content-type", "")
    if content_type != JSON:
        _check_media_type(content_type)
    data = _read_json(await request.body())
    if not isinstance(data, dict):
        raise HTTPException(400, 'the body must be a JSON object: {"query": "…", "variables": {…}}')
    return data


def _in_url(request: Request) -> Mapping[str, Any]:
    data: dict[str, Any] = dict(request.query_params)
    for name in ("variables", "extensions"):
        if name in data:
            data[name] = _read_json(data[name])
    return data


def _not_executed(outcome: str) -> int:
    return STATUSES[Code.FORBIDDEN] if outcome == Code.FORBIDDEN else 400


def _read_json(text: str | bytes) -> object:
    try:
        return orjson.loads(text)
    except ValueError as error:
        raise HTTPException(400, f"the request is not valid JSON in UTF-8: send an object such as {EXAMPLE}") from error


def _check_media_type(content_type: str) -> None:
    media_type, parameters = parse_content_type(content_type) if content_type.strip() else ("", {})
    if media_type.lower() != JSON or parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise HTTPException(415, f"the body's Content-Type is {content_type[:60]!r}: send {JSON} in UTF-8")


def _member(data: Mapping[str, Any], name: str, kind: type, wanted: str) -> Any:
    value = data.get(name)
    if value is not None and not isinstance(value, kind):
        raise HTTPException(400, f"{name} must be {wanted} or null, not {type(value).__name__}")
    return value


def _refuse(request: Request, refusal: HTTPException) -> Response:
    body = {"errors": [{"message": refusal.detail, "extensions": {"code": Code.BAD_INPUT.value}}]}
    accepted = accepted_media_type(request.headers.get("accept", ""))
    response = _respond(orjson.dumps(body), refusal.status_code, accepted)
    if refusal.status_code == 405:
        response.headers["allow"] = "GET, POST"
    return response


def _respond(body: bytes, status: int, media_type: str) -> Response:
    return Response(body, status, media_type=f"{media_type}; charset=utf-8", headers={"vary": "accept"})
