"""What every request leaves: an id that joins its answer with the logs, a line there, and a count."""

import logging
import random
import re
import time
from collections.abc import Awaitable

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graph.answers import failure
from graph.logs import REQUEST_ID, tell
from graph.metrics import OTHER, Metrics

HEADER = "X-Request-ID"
MAX_PATH_CHARACTERS = 200
CLIENT_CLOSED_REQUEST = 499
"""What the log tells of a request whose client left before the answer, as nginx does."""

NAME = HEADER.lower().encode()
_SANE = re.compile(rb"[A-Za-z0-9._-]{1,128}")

# Ids are no secrets, and the system's own numbers take a system call each.
_IDS = random.Random()

logger = logging.getLogger(__name__)


class RequestIds:
    """Give every answer an `X-Request-ID`, the request's own when it is sane, else one made here; log and count it.

    What fails below before an answer was begun is answered here, so that this answer has its id too.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        chosen = id_of(next((value for name, value in scope["headers"] if name == NAME), None))
        status: int | None = None

        def send_with_id(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (NAME, chosen)]
                # The path of a route, not of the request: clients must not make up time series.
                route = getattr(scope.get("route"), "path", OTHER)
                self._metrics.count_request(route, scope["method"], message["status"])
            return send(message)

        begun = time.perf_counter()
        outside = REQUEST_ID.set(chosen.decode())
        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            # Nobody is there to be answered.
            status = CLIENT_CLOSED_REQUEST
        except Exception as error:
            # Here the server's own answer would be without id and form; an answer half sent cannot be mended.
            if status is not None:
                raise
            await failure(error)(scope, receive, send_with_id)
        finally:
            # As sent: percent-encoded, and without the query, which may hold what nobody else should read.
            tell_of(chosen, scope["method"], scope.get("raw_path") or scope["path"].encode(), status, begun)
            REQUEST_ID.reset(outside)


def id_of(own: bytes | None) -> bytes:
    """Return the id that a request is given: its own when it is sane."""
    return own if own is not None and _SANE.fullmatch(own) else b"%032x" % _IDS.getrandbits(128)


def tell_of(request_id: bytes, method: str, path: bytes, status: int | None, begun: float) -> None:
    """Write the line of a request."""
    milliseconds = round((time.perf_counter() - begun) * 1000, 1)
    shown = path[:MAX_PATH_CHARACTERS].decode("latin-1")
    told = {"method": method, "path": shown, "status": status, "ms": milliseconds}
    tell(logger, "request", request_id.decode(), told)
