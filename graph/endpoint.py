"""GraphQL over HTTP (https://graphql.github.io/graphql-over-http/draft/): from a request to its answer."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse
from starlette.types import Receive, Scope, Send

from db.errors import DatabaseUnavailableError, OverloadedError
from db.session import WAIT_SECONDS
from db.shapes import Recent
from graph.access import Caller, Role
from graph.admission import Account, CostAsked, charge, payer
from graph.answering import Answers, Found, Level
from graph.answers import STATUSES
from graph.asked import JSON, Asked, key_of, read_body, read_url
from graph.budget import Budget
from graph.cache import Answer, digest
from graph.context import Context
from graph.deadlines import Deadline
from graph.documents import Documents
from graph.errors import MASKED, PASSING, Code, RequestError, explain
from graph.execution import AtlasSchema
from graph.replies import METHODS, Formed, Reply, etag_of, with_extension
from graph.turns import Turn, Turns
from graph.watch import OK, name_of

MAX_KNOWN = 2_048
MAX_KNOWN_BYTES = 4_096
"""Requests up to this size are known again without being read."""
MAX_OPERATIONS = 512


@lru_cache(maxsize=16)
def _scope_of(role: Role, may_introspect: bool) -> str:
    """Return what all callers have in common who may see the same."""
    return f"-{role:d}-{may_introspect:d}"


class Known(NamedTuple):
    """A request that was read: its document, its key but for the caller's scope, and the operation's name."""

    asked: Asked
    query: str | None
    key: str | None
    name: str | None

    @property
    def is_to_be_remembered(self) -> bool:
        """Tell whether the document was sent with its name."""
        return self.asked.query is not None and self.asked.document_name is not None

    def scoped(self, caller: Caller) -> str | None:
        """Return the key of the request by all callers who may see the same."""
        return None if self.key is None else self.key + _scope_of(caller.role, caller.may_introspect)


class Endpoint:
    """The GraphQL endpoint; the app's state must hold `engine`, `readers`, `answers`, `documents`, `budget`, `watch`.

    Without a page, there is no GraphiQL.
    """

    def __init__(self, schema: AtlasSchema, page: Callable[[], str] | None) -> None:
        self.schema = schema
        self._digest = digest(schema.as_str().encode())
        self._page = page
        self.turns = Turns()
        self._known: Recent[tuple[bytes | None, bytes], Known] = Recent(MAX_KNOWN)
        self._operations: Recent[tuple[str, str | None], tuple[bytes | None, str | None]] = Recent(MAX_OPERATIONS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; what is not one of GraphQL gets an error in GraphQL's form."""
        reply, turn = Reply(scope, send), Turn(self.turns)
        try:
            known = await self._read(scope, receive, reply, turn)
            if known.query:
                await self._answer(scope, known, known.query, reply, Deadline(scope, receive), turn)
            elif self._page is not None and reply.is_for_a_person:
                await HTMLResponse(self._page(), headers={"vary": "accept"})(scope, receive, send)
            else:
                raise HTTPException(400, "the request has no query: give a GraphQL document as `query`")
        except HTTPException as refusal:
            await reply.refuse(refusal.detail, Code.BAD_INPUT, refusal.status_code)
        except RequestError as refusal:
            status = STATUSES[refusal.code] if refusal.code in PASSING else 200 if reply.media_type == JSON else 400
            await reply.refuse(refusal.message, refusal.code, status)
        except DatabaseUnavailableError as error:
            code, message = explain(error) or (Code.INTERNAL, MASKED)
            await reply.refuse(message, code, STATUSES[code])
        finally:
            turn.give()

    async def _answer(
        self, scope: Scope, known: Known, query: str, reply: Reply, deadline: Deadline, turn: Turn
    ) -> None:
        state, caller = scope["app"].state, scope["state"]["caller"]
        key = known.scoped(caller)
        with state.watch.operation(caller, query, known.name) as seen:
            account = await self.charged(scope, known.asked, query)
            if account is not None and await _settled(account, known.asked.cost, reply):
                seen.outcome = Code.LIMIT if account.refusal else OK
                return
            if (etag := await _unchanged(state.answers, key, reply)) is not None:
                await reply.send(reply.form_unchanged(etag))
                return
            make = partial(self.make, state, caller, known, query, turn)
            found: Found = await state.answers.find(key, make, deadline)
            seen.outcome = found.outcome
        # A client may be slow to read.
        turn.give()
        if known.is_to_be_remembered and found.was_executed:
            await state.documents.keep(known.asked.document_name, query)
        await reply.send(form(reply, known, key, found, account))

    async def charged(self, scope: Scope, asked: Asked, query: str) -> Account | None:
        """Charge the caller of a request or a socket; None where there is no budget and nothing to tell."""
        budget: Budget | None = scope["app"].state.budget
        if budget is None and asked.cost is CostAsked.NOTHING:
            return None
        caller = payer(scope)
        return await charge(
            self.schema.parsed, budget, caller, query, asked.variables, asked.operation_name, asked.cost
        )

    async def make(self, state: State, caller: Caller, known: Known, query: str, turn: Turn) -> Answer:
        """Compute an answer in its turn, which is given on."""
        context = Context(state.engine, caller, state.watch)
        asked = known.asked
        await turn.take()
        try:
            return await self.schema.answer(state.readers, context, query, asked.variables, asked.operation_name)
        finally:
            turn.give()

    def know(self, asked: Asked, query: str | None) -> Known:
        """Return a request with its key; a document beyond the bounds is not even normalised."""
        if not query:
            return Known(asked, query, None, name_of(query, asked.operation_name))
        named = query, asked.operation_name
        if (operation := self._operations.find(named)) is None:
            is_readable = self.schema.parsed.is_readable(query)
            operation_key = key_of(self._digest, query, asked.operation_name) if is_readable else None
            operation = operation_key, name_of(query, asked.operation_name)
            if len(query) <= MAX_KNOWN_BYTES:
                self._operations.keep(named, operation)
        key, name = operation
        return Known(asked, query, None if key is None else asked.key(key), name)

    def read_at_once(self, documents: Documents, reply: Reply, text: bytes) -> Known | None:
        """Return a request, by its body, or by the URL's query when it is got; None when its document is new.

        Raises HTTPException.
        """
        content_type = _content_type(reply)
        known = self._known.find((content_type, text))
        if known is None and documents.are_all_answered:
            asked = _read(content_type, text)
            operation = asked.query or "", asked.operation_name
            if asked.document_name is None and self._operations.find(operation) is not None:
                return self._keep(content_type, text, asked, asked.query)
        return known

    def as_query(self, query: str, operation_name: str | None) -> str | None:
        """Return the query that a subscription asks again and again; None of another operation."""
        return self.schema.parsed.as_query(query, operation_name)

    async def _read(self, scope: Scope, receive: Receive, reply: Reply, turn: Turn) -> Known:
        """Read a request, or know it again."""
        method = scope["method"]
        if method not in METHODS:
            raise HTTPException(405, f"the method is {method}: send GET or POST")
        content_type = _content_type(reply)
        text: bytes = scope["query_string"] if content_type is None else await _body(receive)
        if (known := self._known.find((content_type, text))) is not None:
            return known
        # A document that is new takes as long to read as many answers take to be computed.
        try:
            await turn.take()
        except OverloadedError:
            scope["app"].state.watch.metrics.count_operation(None, Code.UNAVAILABLE, WAIT_SECONDS)
            raise
        asked = _read(content_type, text)
        documents: Documents = scope["app"].state.documents
        return self._keep(content_type, text, asked, await documents.find(asked.query, asked.document_name))

    def _keep(self, content_type: bytes | None, text: bytes, asked: Asked, query: str | None) -> Known:
        known = self.know(asked, query)
        if len(text) <= MAX_KNOWN_BYTES:
            self._known.keep((content_type, text), known)
        return known


def _read(content_type: bytes | None, text: bytes) -> Asked:
    return read_url(text) if content_type is None else read_body(content_type.decode("latin-1"), text)


def _content_type(reply: Reply) -> bytes | None:
    return None if reply.is_for_caches else reply.headers.get(b"content-type", b"")


async def _settled(account: Account, asked: CostAsked, reply: Reply) -> bool:
    """Answer a request that is beyond its caller's budget, or that asks for the cost alone; tell whether it was one."""
    reply.more += account.headers()
    if account.refusal:
        await reply.refuse(account.refusal.message, Code.LIMIT, 429)
    elif asked is CostAsked.DRY_RUN and account.requested is not None:
        await reply.send(reply.form_once(with_extension(b'{"data":null}', "cost", account.report(None)), True, OK))
    else:
        return False
    return True


def form(reply: Reply, known: Known, key: str | None, found: Found, account: Account | None) -> Formed:
    """Form the answer that was found for a request, with what the request asks to be told beside it."""
    if known.asked.tells or found.level is Level.OUTDATED:
        return reply.form_once(with_told(found, known.asked, account), found.was_executed, found.outcome)
    if found.kept is not None and key is not None:
        return reply.form_kept(found.kept, key)
    return reply.form_once(found.body, found.was_executed, found.outcome)


def with_told(found: Found, asked: Asked, account: Account | None) -> bytes:
    # Whoever gets an answer that may be old is told so, asked or not.
    tells_cache = asked.tells_cache or found.level is Level.OUTDATED
    body = with_extension(found.body, "cache", found.told()) if tells_cache else found.body
    if account is None or account.requested is None or asked.cost is CostAsked.NOTHING:
        return body
    return with_extension(body, "cost", account.report(body))


async def _unchanged(answers: Answers, key: str | None, reply: Reply) -> bytes | None:
    """Return the ETag of what the client has, when the data version tells that it is still right."""
    if key is None or not reply.is_conditional or (version := await answers.newest.get()) is None:
        return None
    etag = etag_of(key, version)
    return etag if reply.has(etag) else None


async def _body(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body
