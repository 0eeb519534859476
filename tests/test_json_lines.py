import bz2
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import pytest

from etl import text_lines
from etl.record_source import Found, Page
from etl.source import Checkpoint, RawRow, RowError, SourceError
from etl.source_config import JsonLinesConfig
from etl.sources import json_lines
from etl.sources.json_lines import JsonLines

RECORDS = Path(__file__).parent / "data" / "records"


def source(location: object, **config: Any) -> JsonLines:
    return JsonLines("facts", JsonLinesConfig.model_validate({"kind": "jsonl", "location": str(location)} | config))


async def pages(of: JsonLines, position: Checkpoint | None = None) -> list[Page]:
    async with aclosing(of.pages(position, {})) as found:
        return [page async for page in found]


async def written(tmp_path: Path, content: bytes) -> tuple[JsonLines, list[Found]]:
    (tmp_path / "facts").write_bytes(content)
    of = source(tmp_path / "facts")
    return of, [row for page in await pages(of) for row in page.rows]


async def test_real_file_is_read_as_it_stands() -> None:
    lines = (RECORDS / "penguins.jsonl").read_text().splitlines()
    found = [row for page in await pages(source(RECORDS / "penguins.jsonl")) for row in page.rows]
    assert found == [Found(line, orjson.loads(line), f"line {number}") for number, line in enumerate(lines, 1)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a":1}\n{"a":2}\n', [("line 1", '{"a":1}', {"a": 1}), ("line 2", '{"a":2}', {"a": 2})]),
        (b'{"a":1}', [("line 1", '{"a":1}', {"a": 1})]),
        (b'\xef\xbb\xbf{"a":1}\r\n\r\n', [("line 1", '{"a":1}', {"a": 1})]),
        (b'\n  \n {"a" : 1} \n', [("line 3", ' {"a" : 1} ', {"a": 1})]),
        ('{"a":"ü"}\n'.encode("utf-16"), [("line 1", '{"a":"ü"}', {"a": "ü"})]),
        (b'{"a":1,"a":2}\n', [("line 1", '{"a":1,"a":2}', {"a": 2})]),
        (
            b'{"a":1.10,"n":' + b"9" * 30 + b"}",
            [("line 1", '{"a":1.10,"n":' + "9" * 30 + "}", {"a": 1.1, "n": 10**30 - 1})],
        ),
        (b'{"a":"\xe2\x80\xa8\\u0085\x7f"}\n', [("line 1", '{"a":"\u2028\\u0085\x7f"}', {"a": "\u2028\x85\x7f"})]),
        (
            b'{}\n[1]\n3\n"x"\nnull\n',
            [(f"line {n}", t, orjson.loads(t)) for n, t in enumerate(["{}", "[1]", "3", '"x"', "null"], 1)],
        ),
    ],
)
async def test_line_is_kept_and_parsed(tmp_path: Path, content: bytes, expected: list[tuple[str, str, Any]]) -> None:
    of, found = await written(tmp_path, content)
    assert [(row.place, row.payload, row.value) for row in found] == expected
    assert [of.parse(RawRow("facts", row.place, row.payload)) for row in found] == [row.value for row in found]


@pytest.mark.parametrize(
    ("line", "reason", "payload"),
    [
        (b"{bad}", "not JSON", "{bad}"),
        (b'{"a":1} {"a":2}', "not JSON", '{"a":1} {"a":2}'),
        (b'{"a":1', "not JSON", '{"a":1'),
        (b'{"a":NaN}', "not JSON", '{"a":NaN}'),
        (b'{"a":-Infinity}', "not JSON", '{"a":-Infinity}'),
        (b'{"a":1e400}', "not JSON", '{"a":1e400}'),
        (b'{"a":"\\ud800"}', "not JSON", '{"a":"\\ud800"}'),
        (b'{"a":"\xff"}', "not JSON", '{"a":"\\udcff"}'),
        (b'{"a":"\0"}', "not JSON", '{"a":"\\u0000"}'),
        (b"\0\0", "not JSON", "\\u0000\\u0000"),
        (b"[" * 100_000, "not JSON", "[" * 100_000),
    ],
)
async def test_bad_line_is_refused_and_the_others_are_read(
    tmp_path: Path, line: bytes, reason: str, payload: str
) -> None:
    _, (first, refused, last) = await written(tmp_path, b'{"a":1}\n' + line + b'\n{"a":2}\n')
    assert (first.value, last.value) == ({"a": 1}, {"a": 2})
    assert isinstance(refused.value, RowError)
    assert refused.value.reason.startswith(reason)
    assert (refused.payload, refused.place) == (payload, "line 2")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a":1},{"a":2}]', "is one JSON array, not JSON Lines"),
        (b'\n[\n{"a":1}\n]\n', "is one JSON array, not JSON Lines"),
        (b'{\n  "a": 1\n}\n', "is JSON over several lines"),
        (b"<!doctype html>\n<html>", "looks like HTML"),
        (bz2.compress(b'{"a":1}\n' * 1000)[:-9], "is cut"),
    ],
)
async def test_what_is_no_file_of_lines_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=f"facts.*{message}"):
        await written(tmp_path, content)


@pytest.mark.parametrize("content", [b"", b"\n \r\n"])
async def test_empty_file_has_no_rows_and_says_so(tmp_path: Path, content: bytes) -> None:
    of, found = await written(tmp_path, content)
    assert found == []
    assert of.notes == [f"{tmp_path / 'facts'} is empty"]


async def test_endless_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "LONGEST_LINE_BYTES", 4 << 20)
    with pytest.raises(SourceError, match="line 2 has no end within 4 MB"):
        await written(tmp_path, b'{"a":1}\n{"a":"' + b"x" * (6 << 20))


@pytest.mark.parametrize("pack", [bytes, bz2.compress])
async def test_reading_goes_on_after_any_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: type[bytes]
) -> None:
    monkeypatch.setattr(json_lines, "PAGE_ROWS", 700)
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", 20_000)
    (tmp_path / "facts").write_bytes(pack(b"".join(b'{"id":%d}\n\n' % number for number in range(2000))))
    of = source(tmp_path / "facts")
    found = await pages(of)
    assert [page.state is None for page in found] == [True] * (len(found) - 1) + [False]
    assert sum(len(page.rows) for page in found) == 2000
    for number, page in enumerate(found[:-1], 1):
        rest = await pages(of, page.position)
        assert [row for page in rest for row in page.rows] == [row for page in found[number:] for row in page.rows]
        assert rest[-1].position == found[-1].position


async def test_reading_of_another_file_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "PAGE_ROWS", 2)
    of, _ = await written(tmp_path, b'{"a":1}\n{"a":2}\n{"a":3}\n')
    position = (await pages(of))[0].position
    (tmp_path / "facts").write_bytes(b'{"a":1}\n{"a":4}\n{"a":3}\n')
    with pytest.raises(SourceError, match="is not the file the run began with: start anew"):
        await pages(of, position)
