import gzip
from pathlib import Path

import pytest

from etl.files import BLOCK_BYTES, LocalFile
from etl.lines import Chunk, Form, read_chunks, sniff
from etl.source import SourceError
from tests.packed import PACKED

LINES = b"".join(b'{"id":"Q%d"},\n' % number for number in range(1, 400))
ARRAY = b"[\n" + LINES + b"{}\n]\n"


async def read(path: Path, offset: int = 0) -> list[Chunk]:
    file = LocalFile(path)
    layout, _ = await sniff(file)
    return [chunk async for chunk in read_chunks(file, layout, offset, chunk_bytes=500)]


@pytest.mark.parametrize("how", PACKED)
async def test_chunks_are_whole_lines_from_any_line_on(tmp_path: Path, how: str) -> None:
    (tmp_path / "file").write_bytes(PACKED[how](ARRAY))
    chunks = await read(tmp_path / "file")
    assert len(chunks) > 5
    assert b"".join(chunk.data for chunk in chunks) == ARRAY
    assert all(chunk.data.endswith(b"\n") and len(chunk.data) < 1000 for chunk in chunks)
    for chunk in chunks:
        assert (
            ARRAY[: chunk.offset] + b"".join(one.data for one in await read(tmp_path / "file", chunk.offset)) == ARRAY
        )
    assert await read(tmp_path / "file", chunks[-1].end) == []


@pytest.mark.parametrize("how", PACKED)
@pytest.mark.parametrize("lost_bytes", [1, 5, 60])
async def test_cut_file_is_refused(tmp_path: Path, how: str, lost_bytes: int) -> None:
    packed = PACKED[how](ARRAY.rstrip()).rstrip(b"\0")
    (tmp_path / "file").write_bytes(packed[:-lost_bytes])
    with pytest.raises(SourceError, match="is cut"):
        await read(tmp_path / "file")


async def test_padding_may_be_longer_than_a_block(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(gzip.compress(ARRAY) + bytes(2 * BLOCK_BYTES))
    assert b"".join(chunk.data for chunk in await read(tmp_path / "file")) == ARRAY


async def test_broken_packing_is_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(ARRAY))
    packed[-8:-4] = b"\1\2\3\4"
    (tmp_path / "file").write_bytes(packed)
    with pytest.raises(SourceError, match="cannot be unpacked"):
        await read(tmp_path / "file")


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (b'{"id":"Q1"}\n{"id":"Q2"}\n', Form.LINES),
        (b'[\n{"id":"Q1"},\n{"id":"Q2"}\n]\n', Form.ARRAY),
        (b'[{"id":"Q1"},\n{"id":"Q2"}]', Form.ARRAY),
        (b'{"entities":{"Q1":{"id":"Q1"},"Q2":{"id":"Q2"}},"success":1}', Form.DOCUMENT),
        (b'{\n  "entities": {"Q1": {"id": "Q1"}, "Q2": {"id": "Q2"}}}', Form.DOCUMENT),
        (b'{\n  "id": "Q1"\n}', Form.DOCUMENT),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
async def test_form_is_told_by_the_beginning(tmp_path: Path, content: bytes, form: Form, pack: type[bytes]) -> None:
    (tmp_path / "file").write_bytes(pack(content))
    layout, _ = await sniff(LocalFile(tmp_path / "file"))
    assert layout.form is form
    lines = b"".join(chunk.data for chunk in await read(tmp_path / "file"))
    assert lines.count(b'"Q1"') == 1


async def test_document_that_is_cut_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b'{"entities":{"Q1":{"id":"Q1"}')
    with pytest.raises(SourceError, match="not complete JSON"):
        await read(tmp_path / "file")


async def test_empty_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert await read(tmp_path / "file") == []


async def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        await read(tmp_path / "file")
