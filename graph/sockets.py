"""GraphQL over a WebSocket, by graphql-transport-ws.

The protocol is https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md. Operations are answered as those of
HTTP are: the same documents, bounds, budgets, deadlines and kept answers. A subscription asks the query of the same
name again whenever the version of the data has risen.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

import orjson
from starlette import status
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from db.errors import DatabaseUnavailableError
from graph.access import Caller
from graph.admission import CostAsked
from graph.answering import Answers
from graph.answers import graphql_error
from graph.asked import Asked, read_members
from graph.deadlines import Deadline
from graph.endpoint import Endpoint, Known, with_told
from graph.errors import MASKED, Code, RequestError, bad_input, explain
from graph.limits import (
    MAX_BODY_BYTES,
    MAX_OPERATION_ID_LENGTH,
    MAX_SOCKET_OPERATIONS,
    MAX_SOCKET_SECONDS,
    MAX_SOCKETS,
    SOCKET_INIT_SECONDS,
)
from graph.logs import REQUEST_ID
from graph.replies import with_extension
from graph.tokens import KeysUnavailableError, TokenError, Tokens
from graph.turns import Turn

PROTOCOL = "graphql-transport-ws"
POLL_SECONDS = 0.5

BAD_MESSAGE, NOT_INITIALISED, FORBIDDEN, WRONG_PROTOCOL, INIT_TIMEOUT, SAME_ID, TOO_MANY_INITS = (
    4400,
    4401,
    4403,
    4406,
    4408,
    4409,
    4429,
)
MAX_REASON_BYTES = 123

logger = logging.getLogger(__name__)


class _Closing(Exception):  # noqa: N818 (not an error of ours)
    """The socket is to be closed, with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")


class Sockets:
    """The WebSocket side of an endpoint."""

    def __init__(self, endpoint: Endpoint, tokens: Tokens) -> None:
        self._endpoint = endpoint
        self._tokens = tokens
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a socket to its end."""
        websocket = WebSocket(scope, receive, send)
        is_spoken = PROTOCOL in scope.get("subprotocols", ())
        await websocket.accept(PROTOCOL if is_spoken else None)
        self._count += 1
        try:
            if not is_spoken:
                raise _Closing(WRONG_PROTOCOL, f"Subprotocol not acceptable: ask for {PROTOCOL}")
            if self._count > MAX_SOCKETS:
                raise _Closing(status.WS_1013_TRY_AGAIN_LATER, "There are too many sockets: try again later")
            await _Socket(websocket, self._endpoint, self._tokens).serve()
        except _Closing as closing:
            await websocket.close(closing.code, closing.reason)
        except WebSocketDisconnect:
            pass
        finally:
            self._count -= 1


class _Socket:
    def __init__(self, websocket: WebSocket, endpoint: Endpoint, tokens: Tokens) -> None:
        self._websocket = websocket
        self._endpoint = endpoint
        self._tokens = tokens
        self._state = websocket.app.state
        self._operations: dict[str, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Take messages until the socket closes; raises _Closing or WebSocketDisconnect."""
        try:
            async with asyncio.timeout(MAX_SOCKET_SECONDS) as limit:
                await self._initialise()
                token_ends = asyncio.get_running_loop().time() + self._token_seconds
                limit.reschedule(min(token_ends, limit.when() or token_ends))
                while True:
                    await self._take(await self._message())
        except TimeoutError:
            if self._token_seconds <= 0:
                raise _Closing(FORBIDDEN, "Forbidden: the token has expired: get a new one") from None
            raise _Closing(status.WS_1012_SERVICE_RESTART, "The socket is old: connect anew") from None
        finally:
            for task in self._operations.values():
                task.cancel()
            await asyncio.gather(*self._operations.values(), return_exceptions=True)

    @property
    def _token_seconds(self) -> float:
        """How long the caller's token holds yet."""
        caller: Caller = self._websocket.scope["state"]["caller"]
        return caller.expires_at - time.time()

    async def _initialise(self) -> None:
        try:
            async with asyncio.timeout(SOCKET_INIT_SECONDS):
                while (message := await self._message())["type"] == "ping":
                    await self._send({"type": "pong"})
        except TimeoutError:
            raise _Closing(INIT_TIMEOUT, "Connection initialisation timeout") from None
        if message["type"] != "connection_init":
            raise _Closing(NOT_INITIALISED, "Unauthorized: send connection_init first")
        payload = message.get("payload") or {}
        # A browser can give a WebSocket no header.
        if isinstance(payload, dict) and isinstance(authorization := payload.get("authorization"), str):
            try:
                self._websocket.scope["state"]["caller"] = await self._tokens.caller(authorization)
            except TokenError as error:
                raise _Closing(FORBIDDEN, f"Forbidden: {error}") from None
            except KeysUnavailableError:
                raise _Closing(status.WS_1013_TRY_AGAIN_LATER, "Tokens cannot be checked at the moment") from None
        await self._send({"type": "connection_ack"})

    async def _message(self) -> dict[str, Any]:
        received = await self._websocket.receive()
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code", status.WS_1000_NORMAL_CLOSURE))
        text = received.get("text")
        if text is None:
            raise _Closing(BAD_MESSAGE, "Messages are JSON texts, not bytes")
        if len(text) > MAX_BODY_BYTES:
            raise _Closing(status.WS_1009_MESSAGE_TOO_BIG, f"A message may have {MAX_BODY_BYTES} bytes")
        try:
            message = orjson.loads(text)
        except ValueError:
            raise _Closing(BAD_MESSAGE, "The message is not JSON") from None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise _Closing(BAD_MESSAGE, "A message is an object with a type")
        return message

    async def _take(self, message: Mapping[str, Any]) -> None:
        match message["type"]:
            case "ping":
                await self._send({"type": "pong"})
            case "pong":
                pass
            case "subscribe":
                self._begin(message)
            case "complete":
                task = self._operations.pop(_id_of(message), None)
                if task is not None:
                    task.cancel()
            case "connection_init":
                raise _Closing(TOO_MANY_INITS, "Too many initialisation requests")
            case other:
                raise _Closing(BAD_MESSAGE, f"There are no messages of the type {other[:40]!r}")

    def _begin(self, message: Mapping[str, Any]) -> None:
        operation_id = _id_of(message)
        if operation_id in self._operations:
            raise _Closing(SAME_ID, f"Subscriber for {operation_id} already exists")
        if len(self._operations) >= MAX_SOCKET_OPERATIONS:
            reason = f"A socket may have {MAX_SOCKET_OPERATIONS} operations at a time"
            raise _Closing(status.WS_1008_POLICY_VIOLATION, reason)
        payload = message.get("payload")
        if not isinstance(payload, dict):
            raise _Closing(BAD_MESSAGE, "The payload of subscribe is an object with a query")
        task = asyncio.create_task(self._run(operation_id, payload))
        self._operations[operation_id] = task
        task.add_done_callback(lambda done: self._end(operation_id, done))

    def _end(self, operation_id: str, task: "asyncio.Task[None]") -> None:
        if self._operations.get(operation_id) is task:
            del self._operations[operation_id]
        if not task.cancelled():
            # The client has left: nobody is there to be told.
            task.exception()

    async def _run(self, operation_id: str, payload: Mapping[str, Any]) -> None:
        """Answer an operation; what goes wrong before it runs is an error message, and its end."""
        REQUEST_ID.set(secrets.token_hex(16))
        try:
            async for body in self._bodies(read_members(payload)):
                await self._send_payload("next", operation_id, body)
        except HTTPException as refusal:
            await self._refuse(operation_id, Code.BAD_INPUT, refusal.detail)
        except RequestError as refusal:
            await self._refuse(operation_id, refusal.code, refusal.message)
        except DatabaseUnavailableError as error:
            await self._refuse(operation_id, *(explain(error) or (Code.INTERNAL, MASKED)))
        except _NotExecutedError as refused:
            await self._send_payload("error", operation_id, refused.errors)
        except (WebSocketDisconnect, WebSocketDisconnected):
            return
        except Exception as error:
            logger.error("an operation of a socket failed", exc_info=error)
            await self._refuse(operation_id, Code.INTERNAL, MASKED)
        else:
            await self._send({"type": "complete", "id": operation_id})

    async def _bodies(self, asked: Asked) -> AsyncIterator[bytes]:
        query = await self._state.documents.find(asked.query, asked.document_name)
        if not query:
            raise bad_input("the request has no query: give a GraphQL document as `query`")
        turn = Turn(self._endpoint.turns)
        await turn.take()
        try:
            live = self._endpoint.as_query(query, asked.operation_name)
            known = self._endpoint.know(asked, live or query)
            only = await self._answer(known, turn) if live is None else None
        finally:
            turn.give()
        if only is not None:
            yield only
            return
        answers: Answers = self._state.answers
        told: tuple[str, bytes] | None = None
        while True:
            version = await answers.newest.get()
            if version is not None and (told is None or told[0] != version):
                body = await self._answer(known, turn)
                # For a moment the answer of the version before is still given out.
                if told is None or told[1] != body:
                    told = version, body
                    yield body
            await asyncio.sleep(POLL_SECONDS)

    async def _answer(self, known: Known, turn: Turn) -> bytes:
        scope, asked = self._websocket.scope, known.asked
        caller, query = scope["state"]["caller"], known.query
        assert query is not None
        with self._state.watch.operation(caller, query, known.name) as seen:
            account = await self._endpoint.charged(scope, asked, query)
            if account is not None and account.refusal is not None:
                raise account.refusal
            if account is not None and asked.cost is CostAsked.DRY_RUN and account.requested is not None:
                return with_extension(b'{"data":null}', "cost", account.report(None))
            make = partial(self._endpoint.make, self._state, caller, known, query, turn)
            found = await self._state.answers.find(known.scoped(caller), make, Deadline(scope, _silent))
            seen.outcome = found.outcome
        if not found.was_executed:
            raise _NotExecutedError(orjson.dumps(orjson.loads(found.body)["errors"]))
        return with_told(found, asked, account)

    async def _refuse(self, operation_id: str, code: Code, message: str) -> None:
        await self._send_payload("error", operation_id, orjson.dumps(graphql_error(message, code)["errors"]))

    async def _send_payload(self, kind: str, operation_id: str, payload: bytes) -> None:
        await self._send({"type": kind, "id": operation_id, "payload": orjson.Fragment(payload)})

    async def _send(self, message: Mapping[str, Any]) -> None:
        await self._websocket.send_text(orjson.dumps(message).decode())


class _NotExecutedError(Exception):
    """An operation was refused before it ran, with these errors as JSON."""

    def __init__(self, errors: bytes) -> None:
        super().__init__()
        self.errors = errors


def _id_of(message: Mapping[str, Any]) -> str:
    found = message.get("id")
    if not isinstance(found, str) or not 0 < len(found) <= MAX_OPERATION_ID_LENGTH:
        raise _Closing(BAD_MESSAGE, f"The message needs an id of 1 to {MAX_OPERATION_ID_LENGTH} characters")
    return found


async def _silent() -> Any:
    """Tell nothing of the client: the socket's end cancels its operations."""
    await asyncio.Event().wait()
