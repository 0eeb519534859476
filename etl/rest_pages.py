"""How an API's pages follow each other: the address of each, and when the last is reached. No network."""

from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any

from yarl import URL

from etl.json_text import find, parse
from etl.rest_client import RefusedError
from etl.source import Checkpoint, RowError
from etl.source_config import ByCursor, ByLink, ByNextUrl, ByOffset, ByPage, RestConfig

MAX_CURSOR_CHARACTERS = 4000


@dataclass(slots=True)
class Walk:
    """How far a walk over the pages is. `next` is the cursor or address of the next page, None before the first."""

    pages: int = 0
    rows: int = 0
    next: str | None = None
    is_done: bool = False
    first_rows: int = 0
    """The rows of the first page: a server may give fewer than it is asked for, always."""
    digest: str | None = None
    """Of the rows of the page before."""
    greatest: str | None = None
    """The watermark so far."""
    validators: dict[str, str] = field(default_factory=dict)
    """What tells the whole source apart from a later one, where its first answer is all of it."""

    @classmethod
    def at(cls, position: Checkpoint | None) -> "Walk":
        """Go on at a position."""
        return cls(**(position or {}))

    def position(self) -> Checkpoint:
        """Return the position after the pages so far."""
        return asdict(self)


class Pagination:
    """Leads a walk; `since` is sent with each request of an incremental source."""

    def __init__(self, config: RestConfig, since: str | None) -> None:
        self._by = config.pagination
        query: dict[str, str | int | float] = {
            name: str(value).lower() if isinstance(value, bool) else value for name, value in config.query.items()
        }
        if config.incremental is not None and since is not None:
            query[config.incremental.parameter] = since
        if isinstance(self._by, ByPage | ByOffset | ByCursor) and self._by.size_parameter is not None:
            query[self._by.size_parameter] = self._by.size
        self._first = URL(config.url).with_fragment(None).update_query(query)
        self._seen: set[str] = set()

    def url(self, walk: Walk) -> URL:
        """Return the address of the page after those of the walk."""
        match self._by:
            case ByPage(parameter=name, first=first):
                return self._first.update_query({name: first + walk.pages})
            case ByOffset(parameter=name):
                return self._first.update_query({name: walk.rows})
            case ByCursor(parameter=name) if walk.next is not None:
                return self._first.update_query({name: walk.next})
            case ByLink() | ByNextUrl() if walk.next is not None:
                return URL(walk.next)
        return self._first

    def next_of(self, body: bytes, link: str | None) -> str | None:
        """Return the cursor or address that an answer names for the page after it; raises RefusedError for none."""
        match self._by:
            case ByLink():
                return link
            case ByCursor(path=path) | ByNextUrl(path=path):
                return _next_value(body, path)
        return None

    def advance(self, walk: Walk, rows: list[bytes], next_page: str | None) -> None:
        """Take note of a page; raises RefusedError when it is the same again."""
        digest = _digest(rows)
        match self._by:
            case ByPage(size_parameter=sized, size=size) | ByOffset(size_parameter=sized, size=size):
                if rows and digest == walk.digest:
                    raise RefusedError("the same page again: does the server know the parameter under another name?")
                # A first page may be short because the server gives no more than so many at once.
                is_short = sized is not None and walk.pages > 0 and len(rows) < min(size, walk.first_rows)
                walk.is_done = not rows or is_short
            case ByCursor() | ByLink() | ByNextUrl():
                self._follow(walk, rows, next_page)
            case None:
                walk.is_done = True
        walk.first_rows = walk.first_rows or len(rows)
        walk.digest = digest
        walk.pages += 1
        walk.rows += len(rows)

    @property
    def is_by_address(self) -> bool:
        """Whether `next_of` gives addresses."""
        return isinstance(self._by, ByLink | ByNextUrl)

    def names_next(self, body: bytes, link: str | None) -> bool:
        """Tell whether an answer says what follows it, be it nothing; only those led by their answers have to."""
        match self._by:
            case ByLink():
                return link is not None
            case ByCursor(path=path) | ByNextUrl(path=path):
                return find(body, path) is not None
        return True

    def may_be_over(self, walk: Walk) -> bool:
        """Tell whether the pages so far can be all, so that the server may not know the one after them."""
        match self._by:
            case ByPage(size_parameter=sized, size=size) | ByOffset(size_parameter=sized, size=size):
                return sized is not None and walk.pages == 1 and walk.rows < size
        return False

    def is_one_answer(self, walk: Walk) -> bool:
        """Tell whether the first answer was all there is, and says so in its body."""
        return walk.is_done and walk.pages == 1 and isinstance(self._by, ByCursor | ByNextUrl | None)

    def _follow(self, walk: Walk, rows: list[bytes], next_page: str | None) -> None:
        self._seen.add(walk.next or str(self._first))
        if next_page is not None and next_page in self._seen and rows:
            raise RefusedError(f"the same page again: {next_page[:80]!r} has been the next page before")
        # Some servers answer the last cursor again, with no rows, to those who have reached the end.
        walk.is_done = next_page is None or next_page in self._seen
        walk.next = next_page


def _next_value(body: bytes, path: str) -> str | None:
    found = find(body, path)
    if found is None:
        return None
    try:
        value: Any = parse(found)
    except RowError as error:
        raise RefusedError(f"what leads to the next page, {path}, is {error}") from error
    if not value:
        return None
    text = value if isinstance(value, str) else found.decode()
    if isinstance(value, bool | list | dict) or not text.isprintable() or len(text) > MAX_CURSOR_CHARACTERS:
        raise RefusedError(f"what leads to the next page, {path}, is neither text nor number: {text[:80]!r}")
    return text


def _digest(rows: list[bytes]) -> str:
    digest = blake2b(digest_size=16)
    for row in rows:
        digest.update(row)
        digest.update(b"\n")
    return digest.hexdigest()
