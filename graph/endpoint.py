"""GraphQL over HTTP (https://graphql.github.io/graphql-over-http/draft/): requests and their answers."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from cross_web import AsyncHTTPRequestAdapter, HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.http.base import BaseRequestProtocol
from strawberry.http.parse_content_type import parse_content_type
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from graph.context import Context
from graph.errors import Code
from graph.schema import AtlasSchema

JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"


class Endpoint(GraphQL[Context, None]):
    """The GraphQL endpoint; the app's state must hold engine and cache while it serves."""

    def __init__(self, schema: AtlasSchema, page: Callable[[], str]) -> None:
        super().__init__(schema, graphql_ide="graphiql")
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; what is not one of GraphQL gets an error in GraphQL's form."""
        request = Request(scope, receive)
        try:
            response = await self.run(request)
        except HTTPException as refusal:
            response = _refuse(request, refusal)
        await response(scope, receive, send)

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:  # noqa: ARG002
        """Make the context from which every operation gets a fresh one."""
        return Context(request.app.state.engine, request.app.state.cache)

    def should_render_graphql_ide(self, request: BaseRequestProtocol) -> bool:
        """Show GraphiQL to browsers that bring no query."""
        is_browser = "text/html" in request.headers.get("accept", "")
        return request.method == "GET" and "query" not in request.query_params and is_browser

    async def render_graphql_ide(self, request: Request) -> Response:  # noqa: ARG002
        """Show GraphiQL."""
        return HTMLResponse(self._page(), headers={"vary": "accept"})

    def decode_json(self, data: str | bytes) -> object:
        """Read JSON; raises a JSONDecodeError for anything else, invalid UTF-8 included."""
        return orjson.loads(data)

    def encode_json(self, data: object) -> bytes:
        """Write JSON."""
        return orjson.dumps(data)

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData:
        """Read an operation from a request; raises HTTPException when there is none."""
        if request.method == "GET":
            data: object = self.parse_query_params(request.query_params)
        else:
            _check_media_type(request.content_type or "")
            data = self.parse_json(await request.get_body())
        if not isinstance(data, dict):
            raise HTTPException(400, 'the body must be a JSON object: {"query": "…", "variables": {…}}')
        return GraphQLRequestData(
            query=_member(data, "query", str, "a string"),
            variables=_member(data, "variables", dict, "an object"),
            operation_name=_member(data, "operationName", str, "a string") or None,
            extensions=_member(data, "extensions", dict, "an object"),
        )

    async def process_result(self, request: Request, result: ExecutionResult) -> GraphQLHTTPResponse:  # noqa: ARG002
        """Give a result its form; `data` is missing when nothing was executed."""
        response: dict[str, Any] = {}
        if result.errors:
            response["errors"] = [error.formatted for error in result.errors]
        if not isinstance(result, PreExecutionError):
            response["data"] = result.data
        if result.extensions:
            response["extensions"] = result.extensions
        return response  # type: ignore[return-value]

    async def get_sub_response(self, request: Request | WebSocket) -> Response:
        """Choose how the answer is written."""
        response = await super().get_sub_response(request)
        response.media_type = accepted_media_type(request.headers)
        return response

    def create_response(
        self, response_data: GraphQLHTTPResponse | list[GraphQLHTTPResponse], sub_response: Response
    ) -> Response:
        """Write an answer: 200, but 400 in GraphQL's own media type when nothing was executed."""
        media_type = sub_response.media_type or JSON
        was_executed = "data" in response_data
        status = 200 if was_executed or media_type == JSON else 400
        return _answer(self.encode_json(response_data), status, media_type)


def accepted_media_type(headers: Mapping[str, str]) -> str:
    """Return the one of GraphQL's two media types that the Accept header prefers; JSON when it names none."""
    best, best_quality = JSON, 0.0
    for part in headers.get("accept", "").split(","):
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


def _check_media_type(content_type: str) -> None:
    media_type, parameters = parse_content_type(content_type) if content_type.strip() else ("", {})
    if media_type.lower() != JSON or parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise HTTPException(415, f"the body's Content-Type is {content_type[:60]!r}: send {JSON} in UTF-8")


def _member(data: dict[str, Any], name: str, kind: type, wanted: str) -> Any:
    value = data.get(name)
    if value is not None and not isinstance(value, kind):
        raise HTTPException(400, f"{name} must be {wanted} or null, not {type(value).__name__}")
    return value


def _refuse(request: Request, refusal: HTTPException) -> Response:
    message = refusal.reason
    if message == "Unable to parse request body as JSON":
        message = (
            'the request is not valid JSON in UTF-8: send an object such as {"query": "{ dataVersion { version } }"}'
        )
    body = {"errors": [{"message": message, "extensions": {"code": Code.BAD_INPUT.value}}]}
    response = _answer(orjson.dumps(body), refusal.status_code, accepted_media_type(request.headers))
    if refusal.status_code == 405:
        response.headers["allow"] = "GET, POST"
    return response


def _answer(body: bytes, status: int, media_type: str) -> Response:
    return Response(body, status, media_type=f"{media_type}; charset=utf-8", headers={"vary": "accept"})
