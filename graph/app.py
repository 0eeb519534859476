"""The web application: routes, middleware, and what lives as long as it serves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from db.breaker import Breaker
from db.session import read_engine
from db.settings import Settings
from db.statements import Readers
from graph.access import Role
from graph.answering import Answers
from graph.answers import GRAPHQL_PATH, JSONResponse, ParameterError, refuse, say_what_is_wrong
from graph.budget import HEADERS as BUDGET_HEADERS
from graph.budget import Budget
from graph.deadlines import HEADER as DEADLINE_HEADER
from graph.deadlines import bounded
from graph.documents import Documents, read_documents
from graph.endpoint import Endpoint
from graph.gate import Gate, restricted
from graph.graphiql import STATIC_DIRECTORY, STATIC_URL, graphiql_page
from graph.health import health, known_revisions, live, ready
from graph.metrics import Metrics
from graph.redis_link import RedisLink
from graph.request_bounds import RequestBounds
from graph.request_ids import HEADER, RequestIds
from graph.rest import data, openapi, stats
from graph.schema import build, schema
from graph.shared_cache import RedisCache
from graph.short_way import ShortWay
from graph.sockets import Sockets
from graph.tokens import Tokens
from graph.tracing import TraceRequests, open_tracing
from graph.versions import NewestVersion
from graph.watch import Watch

FAREWELL_SECONDS = 2
APART = 2
"""How many connections there are beside those of the pool: for the version, and for the health."""

EXAMPLE_QUERY = """\
# What must I learn before Bayesian logistic regression?
query Roadmap {
  knowledgeRoadmap(conceptId: "metacademy:bayesian_logistic_regression") {
    depth
    concept { id name }
  }
}

# Who stands behind Nietzsche?
query Nietzsche {
  figureDetail(id: "Q9358") {
    name
    birth { text }
    influencedBy { id name birthYear }
  }
}
"""

INDEX = {
    "name": "Chronos Atlas",
    "about": "What led to this, and what must I learn first?",
    "graphql": GRAPHQL_PATH,
    "rest": {"data": "/data", "stats": "/stats", "openapi": "/openapi.json"},
    "health": {"live": "/health/live", "ready": "/health/ready", "both": "/health"},
    "metrics": "/metrics",
}


def create_app(settings: Settings, url: str) -> Starlette:
    """Make the application over the database at a libpq URL; connections are opened when it starts to serve.

    Raises ConfigurationError.
    """
    redis = RedisLink(settings.redis_url) if settings.redis_url else None
    shared = RedisCache(redis) if redis else None
    documents = Documents(read_documents(settings.documents_file) if settings.documents_file else None, shared)
    budget = Budget(settings.query_budget_per_minute, redis) if settings.query_budget_per_minute else None
    tokens = Tokens(settings)
    watch = Watch(Metrics(), open_tracing(settings.otlp_endpoint))
    breaker = Breaker("The database")
    breakers = _breakers(breaker, redis)
    watch.metrics.watch_breakers(breakers)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.deadline_seconds = settings.deadline_seconds
        app.state.is_draining = False
        app.state.breakers = breakers
        app.state.look = None
        app.state.revisions = known_revisions()
        app.state.engine = read_engine(url, settings.pool_size, settings.deadline_seconds, breaker)
        app.state.readers = Readers(app.state.engine)
        # The version and the health are read also while operations have all connections of the other engine.
        app.state.apart = of_version = read_engine(url, APART, settings.deadline_seconds, breaker)
        app.state.answers = Answers(NewestVersion(Readers(of_version)), shared, settings.deadline_seconds)
        watch.metrics.watch_cache(app.state.answers.reads)
        app.state.documents = documents
        app.state.budget = budget
        app.state.watch = watch
        watch.begin(app.state.readers)
        if budget is None and watch.tracing is None:
            app.state.short_way = ShortWay(app, endpoint, graphql, tokens.without_token)
        try:
            yield
        finally:
            await app.state.answers.close()
            if redis is not None:
                await redis.close()
            await asyncio.gather(*(_dispose(engine) for engine in (of_version, app.state.engine)))
            await asyncio.to_thread(watch.close)

    page = graphiql_page(EXAMPLE_QUERY)
    # Suggestions would tell the schema, a name at a time.
    served = schema if settings.suggestions and settings.introspection else build(suggestions=False)
    endpoint = Endpoint(served, (lambda: page) if settings.introspection else None)
    graphql = Route(GRAPHQL_PATH, endpoint)
    return Starlette(
        routes=[graphql, WebSocketRoute(GRAPHQL_PATH, Sockets(endpoint, tokens)), *_other_routes()],
        middleware=[*_middleware(settings, tokens, watch), Middleware(Shortcut, graphql)],
        exception_handlers={HTTPException: say_what_is_wrong, ParameterError: refuse},
        lifespan=lifespan,
    )


async def _dispose(engine: AsyncEngine) -> None:
    # A server that does not answer is not waited for.
    with suppress(TimeoutError):
        async with asyncio.timeout(FAREWELL_SECONDS):
            await engine.dispose()


def _breakers(database: Breaker, redis: RedisLink | None) -> dict[str, Callable[[], bool]]:
    found: dict[str, Callable[[], bool]] = {"database": lambda: bool(database.opened)}
    return found if redis is None else found | {"redis": lambda: redis.is_left_alone}


def _other_routes() -> list[BaseRoute]:
    return [
        Route("/", index),
        Route("/data", bounded(data)),
        Route("/stats", bounded(stats)),
        Route("/openapi.json", openapi),
        Route("/health", health),
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/metrics", restricted(Role.OPERATOR, metrics)),
        Mount(STATIC_URL, StaticFiles(directory=STATIC_DIRECTORY, check_dir=False)),
    ]


class Shortcut:
    """Middleware that gives a route its requests: looking for it takes as long as finding an answer that is kept."""

    def __init__(self, app: ASGIApp, route: Route) -> None:
        self._app = app
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and scope["path"] == self._route.path:
            scope["route"] = self._route
            await self._route.app(scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def index(_request: Request) -> Response:
    """Tell what is where."""
    return JSONResponse(INDEX)


async def metrics(request: Request) -> Response:
    """Give Prometheus its metrics."""
    watch: Watch = request.app.state.watch
    body, media_type = await watch.metrics.page(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": media_type})


def _middleware(settings: Settings, tokens: Tokens, watch: Watch) -> list[Middleware]:
    # The first is the outermost: preflights have their id too, and a browser may read why a token was refused.
    found = [Middleware(RequestIds, watch.metrics)]
    if watch.tracing is not None:
        found.append(Middleware(TraceRequests, watch.tracing))
    if settings.cors_origins:
        found.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.cors_origins),
                allow_methods=["GET", "HEAD", "POST"],
                allow_headers=["Accept", "Authorization", "Content-Type", "Traceparent", HEADER, DEADLINE_HEADER],
                expose_headers=[HEADER, *BUDGET_HEADERS],
                max_age=86_400,
            )
        )
    found.append(Middleware(RequestBounds))
    found.append(Middleware(Gate, tokens, settings.cors_origins))
    return found
