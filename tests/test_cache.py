import pytest

from db.shapes import Recent
from graph.admission import CostAsked
from graph.asked import Asked, key_of
from graph.cache import ENTRY_BYTES, LASTING_SECONDS, Kept, MemoryCache, digest

SCHEMA = b"schema"
QUERY = "query A($a: Int) { entities(first: $a) { totalCount } }"


def kept(body: bytes) -> Kept:
    return Kept(body, "1", 0.0, LASTING_SECONDS)


def asked(variables: dict[str, object] | None = None, operation_name: str | None = None) -> Asked:
    return Asked(None, None, variables, operation_name, False, CostAsked.NOTHING)


def test_memory_is_bounded_and_drops_what_was_not_used() -> None:
    cache = MemoryCache(max_bytes=2 * (ENTRY_BYTES + 50))
    one, two, three = (kept(bytes([letter]) * 40) for letter in b"123")
    cache.set("a", one)
    cache.set("b", two)
    assert cache.get("a") is one
    cache.set("c", three)
    assert [cache.get(key) for key in "abc"] == [one, None, three]
    cache.set("a", kept(b"1" * 2_000))
    assert [cache.get(key) for key in "abc"] == [None, None, None]
    cache.set("b", two)
    cache.set("b", three)
    assert (len(cache), cache.get("b")) == (1, three)


def test_recent_keeps_what_was_used_last() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.keep("a", 1)
    recent.keep("b", 2)
    assert recent.find("a") == 1
    recent.keep("c", 3)
    assert [recent.find(key) for key in "abc"] == [1, None, 3]


def key(request: Asked, schema: bytes, query: str) -> str | None:
    operation = key_of(schema, query, request.operation_name)
    return None if operation is None else request.key(operation)


@pytest.mark.parametrize(
    "other",
    [
        key(asked({"a": 1}), b"other", QUERY),
        key(asked({"a": 1}), SCHEMA, QUERY.replace("totalCount", "__typename")),
        key(asked({"a": 2}), SCHEMA, QUERY),
        key(asked({"a": "1"}), SCHEMA, QUERY),
        key(asked({"a": 1}, "A"), SCHEMA, QUERY),
        key(asked({"a": 1, "b": None}), SCHEMA, QUERY),
    ],
)
def test_key_tells_requests_apart(other: str | None) -> None:
    assert other not in (None, key(asked({"a": 1}), SCHEMA, QUERY))


def test_key_is_the_same_however_a_request_is_laid_out() -> None:
    laid_out = "# a comment\nquery A ( $a : Int ) {\n  entities ( first : $a ) { totalCount, }\n}\n"
    assert key(asked({"a": 1, "b": 2}), SCHEMA, QUERY) == key(asked({"b": 2, "a": 1}), SCHEMA, laid_out)
    assert key(asked(None), SCHEMA, QUERY) == key(asked({}), SCHEMA, QUERY)


@pytest.mark.parametrize("query", ['{ node(id: "x) }', "{ a }" + " " * 50_000, '{ node(id: "\ud800") { id } }'])
def test_odd_document_has_no_key(query: str) -> None:
    assert key(asked(), SCHEMA, query) is None


def test_digest_tells_sequences_apart() -> None:
    assert len({digest(b"ab", b"c"), digest(b"a", b"bc"), digest(b"abc"), digest(b"abc", b"")}) == 4
