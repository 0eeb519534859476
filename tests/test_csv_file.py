import csv
import gzip
import io
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl import csv_layout
from etl.record_source import Found, Page
from etl.source import Checkpoint, RawRow, RowError, SourceError
from etl.source_config import CsvConfig
from etl.sources import csv_file
from etl.sources.csv_file import CsvFile

RECORDS = Path(__file__).parent / "data" / "records"


def source(location: object, **config: Any) -> CsvFile:
    return CsvFile("table", CsvConfig.model_validate({"kind": "csv", "location": str(location)} | config))


async def pages(of: CsvFile, position: Checkpoint | None = None) -> list[Page]:
    async with aclosing(of.pages(position, {})) as found:
        return [page async for page in found]


async def rows(of: CsvFile) -> list[Found]:
    return [row for page in await pages(of) for row in page.rows]


async def written(tmp_path: Path, content: bytes, **config: Any) -> tuple[CsvFile, list[Found]]:
    (tmp_path / "table").write_bytes(content)
    of = source(tmp_path / "table", **config)
    return of, await rows(of)


async def values(tmp_path: Path, content: bytes, **config: Any) -> list[Any]:
    return [row.value for row in (await written(tmp_path, content, **config))[1]]


@pytest.mark.parametrize(
    ("name", "delimiter", "count", "first"),
    [
        ("co2-concentration.csv", ",", 741, {"Date": "1958-03-01", "CO2": "315.70", "adjusted CO2": "314.44"}),
        ("global-temp.csv", ",", 144, {"year": "1880", "temp": "-0.17"}),
        ("unemployment.tsv", "\t", 3218, {"id": "1001", "rate": ".097"}),
        (
            "seattle-weather.csv",
            ",",
            1461,
            {
                "date": "2012-01-01",
                "precipitation": "0.0",
                "temp_max": "12.8",
                "temp_min": "5.0",
                "wind": "4.7",
                "weather": "drizzle",
            },
        ),
    ],
)
async def test_real_table_is_read_as_it_stands(name: str, delimiter: str, count: int, first: dict[str, str]) -> None:
    of = source(RECORDS / name)
    found = await rows(of)
    with (RECORDS / name).open(newline="") as file:
        expected = list(csv.DictReader(file, delimiter=delimiter))
    assert [row.value for row in found] == expected
    assert [orjson.loads(row.payload) for row in found] == expected
    assert (len(found), found[0].value, found[0].place) == (count, first, "line 2")
    assert of.notes == ([] if delimiter == "," else [f"delimiter {delimiter!r} was detected"])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a,b\n1,2\n", [{"a": "1", "b": "2"}]),
        (b"\xef\xbb\xbfa,b\n1,2", [{"a": "1", "b": "2"}]),
        ("a,b\n1,ü\n".encode("utf-16"), [{"a": "1", "b": "ü"}]),
        ("a,b\n1,ü\n".encode("utf-32"), [{"a": "1", "b": "ü"}]),
        (b"a,b\r\n1,2\r\n", [{"a": "1", "b": "2"}]),
        (b"a,b\r1,2\r", [{"a": "1", "b": "2"}]),
        (b'a,b\r1,"x\ny"\r', [{"a": "1", "b": "x\ny"}]),
        (b'a,b\n1,"say ""hi"", he said"\n', [{"a": "1", "b": 'say "hi", he said'}]),
        (b'a,b\n"1\r\n\n2",x\n3,y\n', [{"a": "1\r\n\n2", "b": "x"}, {"a": "3", "b": "y"}]),
        (b"a,b\n007, 1.10 \n", [{"a": "007", "b": " 1.10 "}]),
        (b"a,b\n1,\n,\n", [{"a": "1", "b": None}, {"a": None, "b": None}]),
        (b"\n\na,b\n\n1,2\n  \n\n3,4\n\n", [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        (b"a\n1\n\n2\n", [{"a": "1"}, {"a": "2"}]),
        (b"a b\n1 2\n", [{"a b": "1 2"}]),
        (b"a;b\n1,5;2,5\n3,5;4,5\n", [{"a": "1,5", "b": "2,5"}, {"a": "3,5", "b": "4,5"}]),
        (b"a|b|c\n1|x,y|2\n", [{"a": "1", "b": "x,y", "c": "2"}]),
        (b"a\tb\n1\tx, y; z\n", [{"a": "1", "b": "x, y; z"}]),
        (b'a,b\n"x;y;z","1|2"\n', [{"a": "x;y;z", "b": "1|2"}]),
        (b"a,b\n", []),
        (b"a,b", []),
    ],
)
async def test_table_is_read(tmp_path: Path, content: bytes, expected: list[dict[str, Any]]) -> None:
    assert await values(tmp_path, content) == expected


@pytest.mark.parametrize(
    ("content", "names", "note"),
    [
        (b"a,a,b\n1,2,3\n", ["a", "a_2", "b"], "the name 'a' comes again in column 2: it is called 'a_2' there"),
        (b"a,a,a_2\n1,2,3\n", ["a", "a_3", "a_2"], "it is called 'a_3' there"),
        (b",b,\n1,2,3\n", ["column_1", "b", "column_3"], None),
        (b" a ,b\n1,2\n", ["a", "b"], None),
        (b"1,2.5,2020-01-01\n3,4.5,2020-01-02\n", ["column_1", "column_2", "column_3"], "columns are named column_1"),
        (b"x,2020-01-01\ny,2020-01-02\n", ["column_1", "column_2"], "columns are named column_1"),
        (b"country,2019,2020\nPeru,1,2\n", ["country", "2019", "2020"], None),
        (b"name,1/22/20,1/23/20\nPeru,1,2\n", ["name", "1/22/20", "1/23/20"], None),
        (b"id,name\n1,x\n", ["id", "name"], None),
        (b"name,city\nx,y\n", ["name", "city"], None),
    ],
)
async def test_columns_have_names(tmp_path: Path, content: bytes, names: list[str], note: str | None) -> None:
    of, found = await written(tmp_path, content)
    assert list(found[-1].value) == names
    assert ([note] if note else []) == [note for told in of.notes if note and note in told]
    assert len(of.notes) == (note is not None)


@pytest.mark.parametrize(
    ("content", "config", "expected"),
    [
        (b"1,2\n3,4\n", {"header": True}, [{"1": "3", "2": "4"}]),
        (b"a,b\n1,2\n", {"header": False}, [{"column_1": "a", "column_2": "b"}, {"column_1": "1", "column_2": "2"}]),
        (b"1,2\n3,4\n", {"header": ["x", "y"]}, [{"x": "1", "y": "2"}, {"x": "3", "y": "4"}]),
        (b"a;b,c\n1;2,3\n", {"delimiter": ","}, [{"a;b": "1;2", "c": "3"}]),
        (b"a~b\n1~2\n", {"delimiter": "~"}, [{"a": "1", "b": "2"}]),
        (b"a,b\n1,\xe9\n", {"encoding": "cp850"}, [{"a": "1", "b": "Ú"}]),
        ("a,b\n1,é\n".encode("utf-16-le"), {"encoding": "utf-16-le"}, [{"a": "1", "b": "é"}]),
        (b"", {"header": ["x", "y"]}, []),
    ],
)
async def test_configuration_goes_before_detection(
    tmp_path: Path, content: bytes, config: dict[str, Any], expected: list[dict[str, Any]]
) -> None:
    assert await values(tmp_path, content, **config) == expected


@pytest.mark.parametrize(
    ("content", "cell", "note"),
    [
        ("a,b\nZoë,2\n".encode("cp1252"), "Zoë", "read as cp1252"),
        (b"a,b\n\x81\xe9,2\n", "\x81é", "read as latin-1"),
        ("a,b\nZoë €,2\n".encode(), "Zoë €", None),
    ],
)
async def test_encoding_is_told(tmp_path: Path, content: bytes, cell: str, note: str | None) -> None:
    of, found = await written(tmp_path, content)
    assert [row.value["a"] for row in found] == [cell]
    assert [told.startswith(str(note)) for told in of.notes] == ([True] if note else [])


async def test_letter_cut_by_the_end_of_the_sample_is_valid(tmp_path: Path) -> None:
    of, found = await written(tmp_path, b"a\n" + "é".encode() * (1 << 20) + b"\n")
    assert (len(found[0].value["a"]), of.notes) == (1 << 20, [])


@pytest.mark.parametrize(
    ("line", "reason", "payload"),
    [
        (b"1,2,3", "has 3 cells where 2 are expected", '["1","2","3"]'),
        (b"1", "has 1 cells where 2 are expected", '["1"]'),
        (b"1,x\xffy", "has bytes that are not valid utf-8: give the file's `encoding`", '["1","x\\\\udcffy"]'),
        (b'1,"x"y', "is not CSV: ',' expected after '\"'", '1,"x"y\n'),
        (b"1,x\ry", "is not CSV: new-line character seen in unquoted field", "1,x\ry\n"),
        (b'1,"x\ny" z', "is not CSV: ',' expected after '\"'", '1,"x\ny" z\n'),
    ],
)
async def test_bad_row_is_refused_and_the_others_are_read(
    tmp_path: Path, line: bytes, reason: str, payload: str
) -> None:
    _, found = await written(tmp_path, "a,b\né,é\n".encode() + line + b"\nlast,row\n")
    first, refused, last = found
    assert (first.value, last.value) == ({"a": "é", "b": "é"}, {"a": "last", "b": "row"})
    assert isinstance(refused.value, RowError)
    assert refused.value.reason.startswith(reason)
    assert (refused.payload, refused.place) == (payload, "line 3")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n\n", "is empty"),
        (b"\n<!DOCTYPE html><html>", "looks like HTML"),
        (b"<html><body>", "looks like HTML"),
        (b"<?xml version='1.0'?>", "looks like HTML or XML"),
        (b'{"a":1}\n{"a":2}\n', 'give kind = "jsonl"'),
        (b'[{"a":1}]', "looks like JSON"),
        (b"PK\x03\x04\x14\0", "Excel workbook"),
        ("a,b\n1,2\n".encode("utf-16-le"), "if it is UTF-16"),
        (b'a,"b\n1,2\n', "first row that cannot be read"),
        (b'a,b\n1,2\n3,"4\n5,6\n', "the row that begins at line 3 has no end, the file ends before it"),
        (gzip.compress(gzip.compress(b"a,b\n")), "is packed twice"),
        (gzip.compress(b"a,b\n" * 1000)[:-9], "is cut"),
    ],
)
async def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=f"table.*{message}"):
        await written(tmp_path, content)


@pytest.mark.parametrize("encoding", ["utf-9", "hex", ""])
async def test_unknown_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(SourceError, match=f"'{encoding}' is not an encoding Python knows"):
        await written(tmp_path, b"a,b\n", encoding=encoding)


async def test_long_cells_are_read_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = b"0123456789abcde\n" * 700_000
    assert await values(tmp_path, b'a,b\n1,"' + cell + b'"\n') == [{"a": "1", "b": cell.decode()}]
    monkeypatch.setattr(csv_layout, "LONGEST_CELL", 1 << 20)
    with pytest.raises(SourceError, match=r"row that begins at line 3 has no end, it has a cell of more than"):
        await written(tmp_path, b'a,b\n1,2\n1,"' + cell + b'"\n')


async def test_long_rows_are_read_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "LONGEST_ROW_BYTES", 4 << 20)
    row = b",".join([b'"' + b"0123456789abcde\n" * 60_000 + b'"'] * 7)
    with pytest.raises(SourceError, match=r"row that begins at line 2 has no end, it has more than 4 MB"):
        await written(tmp_path, b"a,b,c,d,e,f,g\n" + row + b"\n")


cells = st.text(st.sampled_from("ab1 ,;|\t\"'\n\ré€\0\\"), max_size=6)


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    width = draw(st.integers(1, 5))
    return draw(st.lists(st.lists(cells, min_size=width, max_size=width), max_size=20))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables(), st.sampled_from(",;\t|"), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.data())
async def test_rows_read_are_rows_written(
    tmp_path: Path, table: list[list[str]], delimiter: str, quoting: Any, data: st.DataObject
) -> None:
    names = [f"name{number}" for number in range(len(table[0]) if table else 2)]
    content = io.StringIO(newline="")
    csv.writer(content, delimiter=delimiter, quoting=quoting).writerows([names, *table])
    found = await values(tmp_path, content.getvalue().encode(), delimiter=delimiter)
    expected = [[cell or None for cell in row] for row in table]
    assert [list(row.values()) if isinstance(row, dict) else row for row in found] == expected


def table_of(count: int) -> bytes:
    content = io.StringIO(newline="")
    rows = ([number, f"name {number}", 'a "quoted"\nnote' if number % 7 == 0 else "plain"] for number in range(count))
    csv.writer(content).writerows([["id", "title", "note"], *rows])
    return content.getvalue().encode()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
async def test_reading_goes_on_after_any_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: type[bytes]
) -> None:
    monkeypatch.setattr(csv_file, "PAGE_ROWS", 700)
    (tmp_path / "table").write_bytes(pack(table_of(5000)))
    of = source(tmp_path / "table")
    found = await pages(of)
    assert [page.state for page in found] == [None] * 7 + [{}]
    for number, page in enumerate(found[:-1], 1):
        rest = await pages(of, page.position)
        assert [page.rows for page in rest] == [page.rows for page in found[number:]]
        assert rest[-1].position == found[-1].position


async def test_reading_of_another_file_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "PAGE_ROWS", 700)
    (tmp_path / "table").write_bytes(table_of(5000))
    position = (await pages(source(tmp_path / "table")))[3].position
    (tmp_path / "table").write_bytes(table_of(5000).replace(b"name 9,", b"Name 9,"))
    with pytest.raises(SourceError, match="is not the file the run began with: start anew"):
        await pages(source(tmp_path / "table"), position)


async def test_page_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "PAGE_BYTES", 1000)
    (tmp_path / "table").write_bytes(table_of(500))
    found = await pages(source(tmp_path / "table"))
    assert max(sum(len(row.payload) for row in page.rows) for page in found) < 1100
    assert sum(len(page.rows) for page in found) == 500


async def test_page_of_bad_rows_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "PAGE_ROWS", 100)
    (tmp_path / "table").write_bytes(b"a,b\n" + b'1,"x"y\n' * 1000)
    assert [len(page.rows) for page in await pages(source(tmp_path / "table"))] == [100] * 10 + [0]


async def test_raw_row_is_parsed_as_it_was(tmp_path: Path) -> None:
    of, (row,) = await written(tmp_path, b"a,b\n1,\n")
    assert row.payload == '{"a":"1","b":""}'
    assert of.parse(RawRow("table", "1", row.payload)) == row.value


@pytest.mark.parametrize("config", [{"header": ["x", "y", "z"]}, {"delimiter": ";"}, {"encoding": "latin-1"}])
async def test_reading_in_another_way_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]
) -> None:
    monkeypatch.setattr(csv_file, "PAGE_ROWS", 700)
    (tmp_path / "table").write_bytes(table_of(5000))
    position = (await pages(source(tmp_path / "table")))[3].position
    with pytest.raises(SourceError, match="start anew"):
        await pages(source(tmp_path / "table", **config), position)
