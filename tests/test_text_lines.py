import re
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl import text_lines
from etl.source import SourceError
from etl.text_lines import Lines, in_utf8


def cut(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    start = 0
    for size in sizes:
        yield data[start : start + size]
        start += size
    yield data[start:]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", 5)


texts = st.lists(st.sampled_from([b"\n", b"ab", b"\r\n", b"c" * 9, "é".encode()]), max_size=30).map(b"".join)
sizes = st.lists(st.integers(1, 12), max_size=20)


@given(texts, sizes)
def test_blocks_are_whole_lines_however_the_text_comes(text: bytes, sizes: list[int]) -> None:
    blocks = list(Lines("file", cut(text, sizes)))
    assert b"".join(blocks) == text
    assert all(block.endswith(b"\n") for block in blocks[:-1])


@given(texts, sizes, sizes, st.data())
def test_reading_goes_on_from_any_line(text: bytes, sizes: list[int], others: list[int], data: st.DataObject) -> None:
    lines = text.splitlines(keepends=True)
    first = Lines("file", cut(text, sizes))
    number = data.draw(st.integers(0, len(lines)))
    position = first.position(0)
    for block in first:
        if first.before <= number <= first.before + len(block.splitlines()):
            position = first.position(number)
            break
    second = Lines("file", cut(text, others))
    second.skip_to(position)
    assert second.before == position["lines"]
    assert b"".join(second) == b"".join(lines[position["lines"] :])


@pytest.mark.parametrize("other", [b"1\n2\n9\n4\n", b"1\n2\n", b"", b"\n1\n2\n3\n4\n", b"1\n2\n3x\n4\n"])
def test_other_text_is_not_gone_on_with(other: bytes) -> None:
    lines = Lines("file", [b"1\n2\n3\n4\n"])
    next(lines)
    position = lines.position(3)
    with pytest.raises(SourceError, match="file is not the file the run began with: start anew"):
        Lines("file", [other]).skip_to(position)


def test_line_that_has_grown_is_not_gone_on_with() -> None:
    lines = Lines("file", [b"1\n2"])
    next(lines)
    position = lines.position(2)
    with pytest.raises(SourceError, match="start anew"):
        Lines("file", [b"1\n23\n"]).skip_to(position)


def test_endless_line_is_refused_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "LONGEST_LINE_BYTES", 2 << 20)
    endless = (b"x" * 1000 for _ in iter(int, 1))

    def pieces() -> Iterator[bytes]:
        yield b"1\n2\n"
        yield b"3\n"
        yield from endless

    with pytest.raises(SourceError, match="file: line 4 has no end within 2 MB"):
        list(Lines("file", pieces()))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "latin-1", "utf-16-le", "utf-16-be"]
)
@given(sizes=sizes)
def test_text_becomes_utf8(encoding: str, sizes: list[int]) -> None:
    text = "é\nÿ, a\r\n" * 5
    assert b"".join(in_utf8(cut(text.encode(encoding), sizes), encoding)) == text.encode()


@pytest.mark.parametrize(
    ("encoding", "given_bytes", "text"),
    [
        ("utf-8", b"a\xffb\n", "a.b\n"),
        ("cp1252", b"a\x81b\n", "a.b\n"),
        ("ascii", b"a\xe9b\n", "a.b\n"),
        ("shift_jis", b"a\x81\n", "a."),
        ("utf-16-le", b"a\0\x00\xd8b\0", "a.b"),
        ("utf-16-le", b"a\0b", "a."),
    ],
)
def test_invalid_bytes_are_marked_and_end_nothing(encoding: str, given_bytes: bytes, text: str) -> None:
    found = b"".join(in_utf8([given_bytes], encoding)).decode("utf-8", "surrogateescape")
    assert re.sub("[\udc80-\udcff]", ".", found).startswith(text)
