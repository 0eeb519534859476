import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.json_text import CutJsonError, cut_array, cut_object, find, parse
from etl.source import RowError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NO_JSON = b"NaN"
"""Makes msgspec give up a text, which is then cut at its brackets and commas."""


@given(st.lists(VALUES))
def test_arrays_are_cut_into_what_they_were_made_of(values: list[Any]) -> None:
    written = [json.dumps(value).encode() for value in values]
    assert cut_array(b"[" + b",".join(written) + b"]") == written
    assert cut_array(b" [" + b" ,\n".join([*written, NO_JSON]) + b" ] ") == [*written, NO_JSON]


@given(st.dictionaries(st.text(), VALUES))
def test_objects_are_cut_into_what_they_were_made_of(values: dict[str, Any]) -> None:
    written = {name: json.dumps(value).encode() for name, value in values.items()}
    members = [json.dumps(name).encode() + b" : " + value for name, value in written.items()]
    assert cut_object(b"{" + b",".join(members) + b"}") == written
    spoilt = b"{" + b" , ".join([*members, b'"no such name": ' + NO_JSON]) + b"}"
    assert cut_object(spoilt) == written | {"no such name": NO_JSON}


@given(st.lists(VALUES, min_size=1), st.booleans(), st.data())
def test_text_that_is_cut_is_never_taken_for_whole(values: list[Any], is_spoilt: bool, data: st.DataObject) -> None:
    text = b"[" + (NO_JSON + b"," if is_spoilt else b"") + json.dumps(values).encode()[1:]
    with pytest.raises(CutJsonError):
        cut_array(text[: data.draw(st.integers(1, len(text) - 1))])


@pytest.mark.parametrize("text", [b"[1] x", b"[1}", b"[[1}]", b'["a]', b"[" * 5000])
def test_text_with_brackets_that_do_not_match_is_refused(text: bytes) -> None:
    with pytest.raises(CutJsonError):
        cut_array(text)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a", b'{"b" : [1.10, {"c":null}]}'),
        ("a.b", b'[1.10, {"c":null}]'),
        ("a.b.0", b"1.10"),
        ("a.b.1.c", b"null"),
        ("a.b.2", None),
        ("a.b.c", None),
        ("d.e", b"7"),
        ("d", None),
    ],
)
@pytest.mark.parametrize("rest", [b"", b', "z": NaN'])
def test_value_is_found_by_its_path_as_received(path: str, found: bytes | None, rest: bytes) -> None:
    assert find(b'{"d.e":7, "a": {"b" : [1.10, {"c":null}]}' + rest + b"}", path) == found


@pytest.mark.parametrize("text", [b"NaN", b"1e400", b'"\\ud800"', b'"\xff"', b"", b"[" * 5000 + b"]" * 5000])
def test_what_is_no_json_is_a_row_error(text: bytes) -> None:
    with pytest.raises(RowError, match="not JSON"):
        parse(text)


@given(st.integers())
def test_integers_of_any_size_are_exact(number: int) -> None:
    assert parse(str(number).encode()) == number
