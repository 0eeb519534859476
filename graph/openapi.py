"""The OpenAPI description of the plain endpoints, made of the types of their parameters and answers."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter

from graph.answers import ErrorAnswer
from graph.deadlines import HEADER as DEADLINE_HEADER
from graph.request_ids import HEADER
from graph.rest_answers import DataAnswer, HealthAnswer, ReadyAnswer, StatsAnswer
from graph.rest_parameters import DataParameters, NoParameters

TOKEN = "token"
REFERENCE = "#/components/schemas/{model}"
ABOUT = "Records of any source and statistics, over plain HTTP. The graph, and everything else, is at `POST /graphql`."


@dataclass(frozen=True, slots=True)
class _Endpoint:
    path: str
    name: str
    summary: str
    answer: type
    parameters: type[BaseModel] = NoParameters
    failures: tuple[int, ...] = ()
    unavailable: type = ErrorAnswer


_ENDPOINTS = (
    _Endpoint("/data", "data", "Records, a page at a time", DataAnswer, DataParameters, (400, 503, 504)),
    _Endpoint("/stats", "stats", "What there is and how it came", StatsAnswer, failures=(400, 503, 504)),
    _Endpoint(
        "/health", "health", "How the server and the ETL are", HealthAnswer, failures=(503,), unavailable=HealthAnswer
    ),
    _Endpoint(
        "/health/ready",
        "ready",
        "Whether queries can be answered",
        ReadyAnswer,
        failures=(503,),
        unavailable=ReadyAnswer,
    ),
)
_MEANINGS = {
    400: "A parameter cannot be used",
    401: "The bearer token does not hold",
    503: "The database cannot answer at the moment",
    504: "The answer took too long",
}
_DEADLINE = {
    "name": DEADLINE_HEADER,
    "in": "header",
    "required": False,
    "description": "Seconds after which the answer is of no use; the server's own deadline cannot be raised.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}


def document() -> dict[str, Any]:
    """Return the description, in OpenAPI 3.1."""
    answers = {endpoint.answer for endpoint in _ENDPOINTS} | {ErrorAnswer}
    inputs: list[Any] = [
        (answer, "serialization", TypeAdapter(answer)) for answer in sorted(answers, key=lambda one: one.__name__)
    ]
    _, defined = TypeAdapter.json_schemas(inputs, ref_template=REFERENCE)
    schemas = dict(defined["$defs"])
    paths = {}
    for endpoint in _ENDPOINTS:
        asked = endpoint.parameters.model_json_schema(ref_template=REFERENCE)
        schemas |= asked.get("$defs", {})
        paths[endpoint.path] = {"get": _operation(endpoint, asked)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Chronos Atlas", "version": "1", "description": ABOUT},
        # A token is optional.
        "security": [{}, {TOKEN: []}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {TOKEN: {"type": "http", "scheme": "bearer"}}},
    }


def _operation(endpoint: _Endpoint, asked: dict[str, Any]) -> dict[str, Any]:
    responses = {"200": _response("The answer", endpoint.answer)}
    for status in (401, *endpoint.failures):
        answer = endpoint.unavailable if status == 503 else ErrorAnswer
        responses[str(status)] = _response(_MEANINGS[status], answer)
    parameters = [_parameter(name, schema) for name, schema in asked.get("properties", {}).items()]
    if 504 in endpoint.failures:
        parameters.append(_DEADLINE)
    return {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": parameters,
        "responses": responses,
    }


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    # Left out is how a parameter is null.
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind != {"type": "null"}]
    told = {key: value for key, value in kinds[0].items() if key not in ("description", "title")}
    return {"name": name, "in": "query", "required": False, "description": schema["description"], "schema": told}


def _response(meaning: str, answer: type) -> dict[str, Any]:
    schema = {"$ref": REFERENCE.format(model=answer.__name__)}
    told = {"schema": {"type": "string"}, "description": "The request's id, as it stands in the logs."}
    return {"description": meaning, "headers": {HEADER: told}, "content": {"application/json": {"schema": schema}}}
