"""The web application: routes, middleware, and what lives as long as it serves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from db.session import read_engine
from db.settings import Settings
from graph.answers import JSONResponse, ParameterError, refuse, say_what_is_wrong
from graph.cache import MemoryCache, RedisCache
from graph.endpoint import Endpoint
from graph.graphiql import STATIC_DIRECTORY, STATIC_URL, graphiql_page
from graph.health import health, known_revisions, live, ready
from graph.request_ids import HEADER, RequestIds
from graph.rest import data, openapi, stats
from graph.schema import schema

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
    "graphql": "/graphql",
    "rest": {"data": "/data", "stats": "/stats", "openapi": "/openapi.json"},
    "health": {"live": "/health/live", "ready": "/health/ready", "both": "/health"},
}


def create_app(settings: Settings, url: str) -> Starlette:
    """Make the application over the database at a libpq URL; connections are opened when it starts to serve.

    Raises ConfigurationError.
    """
    cache = RedisCache(settings.redis_url) if settings.redis_url else MemoryCache()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.revisions = known_revisions()
        app.state.engine = read_engine(url, settings.pool_size, settings.statement_timeout_seconds)
        app.state.cache = cache
        try:
            yield
        finally:
            await app.state.cache.close()
            await app.state.engine.dispose()

    page = graphiql_page(EXAMPLE_QUERY)
    return Starlette(
        routes=[
            Route("/", index),
            Route("/graphql", Endpoint(schema, lambda: page)),
            Route("/data", data),
            Route("/stats", stats),
            Route("/openapi.json", openapi),
            Route("/health", health),
            Route("/health/live", live),
            Route("/health/ready", ready),
            Mount(STATIC_URL, StaticFiles(directory=STATIC_DIRECTORY, check_dir=False)),
        ],
        middleware=_middleware(settings),
        exception_handlers={HTTPException: say_what_is_wrong, ParameterError: refuse},
        lifespan=lifespan,
    )


async def index(_request: Request) -> Response:
    """Tell what is where."""
    return JSONResponse(INDEX)


def _middleware(settings: Settings) -> list[Middleware]:
    # The first is the outermost: preflights have their id too.
    found = [Middleware(RequestIds)]
    if settings.cors_origins:
        found.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.cors_origins),
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=[HEADER],
                max_age=86_400,
            )
        )
    return found
