import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.errors import RequestError
from graph.pagination import decode_cursor, encode_cursor

ids = st.integers(-(2**63), 2**63 - 1)
names = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(names, ids)
def test_cursor_gives_back_its_position(name: str | None, entity_id: int) -> None:
    cursor = encode_cursor("NAME_ASC", (name, entity_id))
    assert decode_cursor(cursor, "NAME_ASC", (str, type(None)), int) == (name, entity_id)


@given(st.floats(allow_nan=False, allow_infinity=False), ids)
def test_cursor_gives_back_a_rank_exactly(rank: float, entity_id: int) -> None:
    assert decode_cursor(encode_cursor("SEARCH", (rank, entity_id)), "SEARCH", float, int) == (rank, entity_id)


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="is not one of this list"):
        decode_cursor(text, "NAME_ASC", str, int)


@pytest.mark.parametrize(
    "content",
    [
        b'["ID_ASC","a",1]',
        b'["NAME_ASC","a"]',
        b'["NAME_ASC",1,1]',
        b'["NAME_ASC","a",true]',
        b'["NAME_ASC","a",9223372036854775808]',
        b'["NAME_ASC","\\u0000",1]',
        b'{"NAME_ASC":1}',
        b"null",
        b"[",
        b"\xff",
    ],
)
def test_cursor_of_another_list_is_refused(content: bytes) -> None:
    with pytest.raises(RequestError):
        decode_cursor(base64.urlsafe_b64encode(content).decode(), "NAME_ASC", str, int)
