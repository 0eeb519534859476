"""Any REST API that answers in JSON, page by page, as the file of sources describes it."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from etl.auth import Credential
from etl.http import PassingError
from etl.json_text import CutJsonError, cut_array, cut_object, find, parse
from etl.mapping import look_up
from etl.record_source import Found, Page, RecordSource
from etl.rest_client import Answer, NotThereError, Pace, RefusedError, RestClient, excerpt
from etl.rest_pages import Pagination, Walk
from etl.source import Checkpoint, RawRow, RowError, SourceError
from etl.source_config import RestConfig
from etl.watermark import Watermark

_NOT_OF_THE_ROWS = {"requests_per_second", "max_pages", "max_failed_share", "fresh_within_days"}


@dataclass(frozen=True, slots=True)
class _Received:
    """What one request brought: rows as received, the next page, what tells this answer from a later one."""

    rows: list[bytes]
    next_page: str | None
    validators: dict[str, str]
    names_next: bool = True
    is_modified: bool = True


class Rest(RecordSource):
    """A REST API. Between runs it keeps the watermark of `incremental`, and validators where one answer is all."""

    config: RestConfig

    def __init__(self, name: str, config: RestConfig) -> None:
        super().__init__(name, config)
        self._pace = Pace(config.requests_per_second)

    @property
    def location(self) -> str:
        """The address of the first request."""
        return self.config.url

    def trouble(self) -> str | None:
        """Tell what is wrong with the secret in the environment."""
        try:
            Credential(self.config.auth)
        except SourceError as error:
            return str(error)
        return None

    async def pages(self, position: Checkpoint | None, state: dict[str, Any]) -> AsyncGenerator[Page, None]:
        """Yield a page a request; raises SourceError."""
        credential = Credential(self.config.auth)
        state = self._still_valid(state)
        since: str | None = state.get("greatest")
        if since is not None:
            # A run that asks for news says nothing of the rows of earlier ones.
            self.speaks_for = ()
        walk = Walk.at(position)
        watermark = Watermark(walk.greatest or since)
        pagination = Pagination(self.config, since)
        async with RestClient(self.config, credential, self._pace) as client:
            while not walk.is_done:
                received = await self._fetch(client, pagination, walk, _validators(state, walk, since))
                if not received.is_modified:
                    self.notes.append("not modified since the last run")
                    yield Page((), walk.position(), state)
                    return
                rows = [_found(row, walk.pages + 1, number) for number, row in enumerate(received.rows, 1)]
                self._watch(watermark, rows)
                self._advance(client, pagination, walk, received)
                walk.greatest = watermark.text
                if pagination.is_one_answer(walk):
                    walk.validators = received.validators
                if walk.pages == 1 and not received.names_next:
                    self.notes.append("the first answer does not say what follows it, so it was taken for all there is")
                yield Page(rows, walk.position(), self._state(walk, since) if walk.is_done else None)
        if position is not None and Walk.at(position).is_done:
            yield Page((), position, self._state(walk, since))
        self._tell(watermark)

    def parse(self, row: RawRow) -> Any:
        """Parse a raw row as `pages` does; raises RowError."""
        return parse(row.payload.encode("utf-8", "surrogatepass"))

    async def _fetch(
        self, client: RestClient, pagination: Pagination, walk: Walk, validators: Mapping[str, str]
    ) -> _Received:
        place = f"page {walk.pages + 1}"
        if walk.pages >= self.config.max_pages:
            raise SourceError(
                client.tell(place, f"there is more after max_pages = {walk.pages} pages: does it end? Else raise it")
            )
        try:
            return await client.fetch(
                pagination.url(walk), place, lambda answer: self._receive(client, pagination, answer), validators
            )
        except NotThereError:
            if pagination.may_be_over(walk):
                return _Received([], None, {})
            raise

    def _receive(self, client: RestClient, pagination: Pagination, answer: Answer) -> _Received:
        """Take an answer apart; raises PassingError when it is cut, RefusedError when it is something else."""
        if answer.status == 304:
            return _Received([], None, {}, is_modified=False)
        validators = {"etag": answer.etag, "last_modified": answer.last_modified}
        kept = {name: value for name, value in validators.items() if value is not None}
        if answer.status == 204:
            return _Received([], answer.next_link, kept)
        body = answer.body.removeprefix(b"\xef\xbb\xbf").strip()
        try:
            rows = _rows(body, self.config.rows)
            next_page = pagination.next_of(body, answer.next_link)
            names_next = pagination.names_next(body, answer.next_link)
        except CutJsonError as error:
            raise PassingError(f"the answer is no whole JSON, {error}: {excerpt(body)}") from error
        if next_page is not None and pagination.is_by_address:
            next_page = str(client.resolve(answer.url, next_page))
        return _Received(rows, next_page, kept, names_next)

    def _advance(self, client: RestClient, pagination: Pagination, walk: Walk, received: _Received) -> None:
        place = f"page {walk.pages + 1}"
        try:
            pagination.advance(walk, received.rows, received.next_page)
        except RefusedError as error:
            raise SourceError(client.tell(place, str(error))) from error

    def _watch(self, watermark: Watermark, rows: list[Found]) -> None:
        if self.config.incremental is not None:
            for row in rows:
                if isinstance(row.value, dict):
                    watermark.see(look_up(row.value, self.config.incremental.field))

    def _still_valid(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the state if it was made with this configuration: another one may ask for, or make, other rows."""
        if not state or state.get("config") == self._fingerprint():
            return state
        self.notes.append("the source's configuration has changed since the last run: all of it is read again")
        return {}

    def _state(self, walk: Walk, since: str | None) -> dict[str, Any]:
        state = {"config": self._fingerprint(), "greatest": walk.greatest, "since": since, **walk.validators}
        return {name: value for name, value in state.items() if value is not None}

    def _fingerprint(self) -> str:
        config = self.config.model_dump(mode="json", exclude=_NOT_OF_THE_ROWS)
        return blake2b(orjson.dumps(config, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()

    def _tell(self, watermark: Watermark) -> None:
        if self.config.incremental is not None and watermark.unfit:
            self.notes.append(
                f"{watermark.unfit} rows have no number or past time in {self.config.incremental.field} that could be"
                f" sent as {self.config.incremental.parameter}, the first is {str(watermark.example)[:80]!r}"
            )


def _validators(state: Mapping[str, Any], walk: Walk, since: str | None) -> dict[str, str]:
    """Return the headers of a conditional request, for the first page, when it is the request it was last time."""
    if walk.pages > 0 or state.get("since") != since:
        return {}
    headers = {"If-None-Match": state.get("etag"), "If-Modified-Since": state.get("last_modified")}
    return {name: value for name, value in headers.items() if value is not None}


def _rows(body: bytes, path: str | None) -> list[bytes]:
    """Return an answer's rows as received; raises CutJsonError, PassingError, RefusedError for what has none."""
    if not body:
        raise PassingError("the answer is empty")
    if body[:1] == b"<":
        raise PassingError(f"HTML or XML instead of JSON: {excerpt(body)}")
    if body[:1] not in (b"[", b"{"):
        _refuse_scalar(body)
    found = body if path is None else find(body, path)
    if found is None:
        has = f"has {', '.join(cut_object(body))[:200]}" if body[:1] == b"{" else "is a list"
        raise RefusedError(f"there is no {path} in the answer, which {has}: {excerpt(body)}")
    if found[:1] != b"[":
        advice = " (name the path to its rows: `rows`)" if path is None else ""
        raise RefusedError(f"expected a list of rows{f' at {path}' if path else ''}{advice}, not {excerpt(found)}")
    return cut_array(found)


def _refuse_scalar(body: bytes) -> None:
    try:
        parse(body)
    except RowError as error:
        raise PassingError(f"no JSON: {excerpt(body)}") from error
    raise RefusedError(f"expected a list of rows, not {excerpt(body)}")


def _found(row: bytes, page: int, number: int) -> Found:
    place = f"page {page}, row {number}"
    try:
        value = parse(row)
    except RowError as error:
        return Found(row.decode("utf-8", "backslashreplace"), error, place)
    return Found(row.decode(), value, place)
