import asyncio
import gzip
import os
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import count
from pathlib import Path

import pytest
from aiohttp import web

from etl.files import RemoteFile, file_at
from etl.source import SourceError
from etl.streams import in_thread, peeked, unpacked
from tests.packed import PACKED
from tests.test_files import Server, serving

CONTENT = b"".join(b"%d,some text\n" % number for number in range(20_000))


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("how", PACKED)
@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_packed_file_is_unpacked(how: str, size: int) -> None:
    content = CONTENT[:5000] if size == 1 else CONTENT
    assert b"".join(unpacked("file", cut(PACKED[how](content), size))) == content


@pytest.mark.parametrize("content", [b"", b"\n", b"BZ,id\n1,2\n", b"BZh91,x\n", b"\x1f\x8b", b"(\xb5/"])
def test_file_that_is_not_packed_is_left_alone(content: bytes) -> None:
    assert b"".join(unpacked("file", cut(content, 4))) == content


@pytest.mark.parametrize("how", ["gzip", "bzip2", "zstd", "gzip of two", "zstd of two"])
@pytest.mark.parametrize("lost_bytes", [1, 9, 60])
def test_cut_archive_is_refused(how: str, lost_bytes: int) -> None:
    with pytest.raises(SourceError, match="file is cut: it ends within its packed data"):
        list(unpacked("file", cut(PACKED[how](CONTENT)[:-lost_bytes], 1000)))


@pytest.mark.parametrize("how", ["gzip", "bzip2", "zstd"])
def test_broken_archive_is_refused(how: str) -> None:
    packed = bytearray(PACKED[how](CONTENT))
    packed[len(packed) // 2 : len(packed) // 2 + 40] = b"\xff" * 40
    with pytest.raises(SourceError, match="file cannot be unpacked"):
        list(unpacked("file", [bytes(packed)]))


def test_what_unpacks_to_much_more_comes_in_pieces() -> None:
    pieces = unpacked("file", [PACKED["zstd"](bytes(1 << 27))])
    assert max(map(len, pieces)) <= 1 << 20


@pytest.mark.parametrize(("size", "first", "is_whole"), [(1, b"ab", False), (3, b"abcd", False), (5, b"abcd", True)])
def test_first_bytes_are_looked_at_and_given_again(size: int, first: bytes, is_whole: bool) -> None:
    head, whole, pieces = peeked([b"ab", b"cd"], size)
    assert (head, whole, b"".join(pieces)) == (first, is_whole, b"abcd")


async def read(location: str) -> bytes:
    async with aclosing(in_thread(file_at(location), lambda pieces: pieces)) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_many_files_are_read_at_a_time(tmp_path: Path) -> None:
    # More than the event loop has threads for files.
    (tmp_path / "file.gz").write_bytes(gzip.compress(CONTENT))
    async with asyncio.timeout(30):
        found = await asyncio.gather(*(read(str(tmp_path / "file.gz")) for _ in range(50)))
    assert set(found) == {CONTENT}


async def test_file_of_a_server_is_taken_up_where_it_broke() -> None:
    server = Server(gzip.compress(CONTENT), limit=20_000)
    async with serving(server) as url:
        assert b"".join([piece async for piece in in_thread(RemoteFile(url, 0.01), lambda pieces: pieces)]) == CONTENT
    assert len(server.asked) > 1


async def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.csv cannot be read: No such file"):
        await read(str(tmp_path / "none.csv"))


class Endless:
    """A file that never ends, or never answers."""

    name = "endless"

    def __init__(self, answers: bool) -> None:
        self.answers = answers
        self.is_open = asyncio.Event()

    async def blocks(self, _offset: int = 0) -> AsyncGenerator[bytes, None]:
        self.is_open.set()
        try:
            while True:
                await asyncio.sleep(0 if self.answers else 3600)
                yield b"x" * 1000
        finally:
            self.is_open.clear()


def swallow(pieces: Iterator[bytes]) -> Iterator[int]:
    for number in count():
        next(pieces)
        if number < 0:
            yield number


@pytest.mark.parametrize("answers", [True, False])
async def test_cancelled_reading_lets_go_of_the_file_and_ends_its_thread(answers: bool) -> None:
    file = Endless(answers)

    async def consume() -> None:
        async with aclosing(in_thread(file, swallow)) as numbers:
            async for _ in numbers:
                pass

    task = asyncio.create_task(consume())
    async with asyncio.timeout(30):
        await file.is_open.wait()
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not file.is_open.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stream")]


async def test_reading_that_is_given_up_lets_go_of_the_file() -> None:
    file = Endless(answers=True)
    async with aclosing(in_thread(file, lambda pieces: pieces)) as pieces:
        assert await anext(pieces)
        assert file.is_open.is_set()
    assert not file.is_open.is_set()


class Bucket:
    """What S3 answers for one object, on loopback."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.etag = '"one"'
        self.status = 404
        self.ranges: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        if request.match_info["key"] != "folder/a?b.csv" or self.status == 403:
            return web.Response(status=self.status)
        assert request.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=someone/")
        if request.headers.get("If-Match", self.etag) != self.etag:
            return web.Response(status=412)
        headers = {"ETag": self.etag, "Last-Modified": "Fri, 20 Nov 2026 07:00:00 GMT"}
        if "Range" not in request.headers:
            return web.Response(body=self.content, headers=headers)
        self.ranges.append(request.headers["Range"])
        start, end = map(int, self.ranges[-1].removeprefix("bytes=").split("-"))
        headers["Content-Range"] = f"bytes {start}-{end}/{len(self.content)}"
        return web.Response(status=206, body=self.content[start : end + 1], headers=headers)


@pytest.fixture
async def bucket(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Bucket, None]:
    bucket = Bucket(CONTENT)
    app = web.Application()
    app.router.add_get("/bucket/{key:.*}", bucket.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setattr("etl.s3.RANGE_BYTES", 100_000)
    host, port = runner.addresses[0][:2]
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "someone"),
        ("AWS_SECRET_ACCESS_KEY", "something"),
    ):
        monkeypatch.setenv(name, value)
    yield bucket
    await runner.cleanup()


async def test_object_of_s3_is_read_by_ranges(bucket: Bucket) -> None:
    assert await read("s3://bucket/folder/a?b.csv") == CONTENT
    assert bucket.ranges[:2] == ["bytes=0-99999", "bytes=100000-199999"]


async def test_object_of_s3_that_changes_meanwhile_is_refused(bucket: Bucket) -> None:
    blocks = file_at("s3://bucket/folder/a?b.csv").blocks()
    assert await anext(blocks)
    bucket.etag = '"two"'
    with pytest.raises(SourceError, match="has changed while it was read: start anew"):
        await anext(blocks)


async def test_object_of_s3_that_is_not_there_is_refused(bucket: Bucket) -> None:
    with pytest.raises(SourceError, match=r"s3://bucket/none cannot be read at byte 0: .* not found"):
        await read("s3://bucket/none")


async def test_object_of_s3_that_is_denied_names_the_credentials(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "status", 403)
    with pytest.raises(SourceError, match=r"a\?b\.csv cannot be read at byte 0: .*$") as refused:
        await read("s3://bucket/folder/a?b.csv")
    assert "set AWS" not in str(refused.value)
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{os.environ['AWS_ENDPOINT_URL']}/bucket/none")
    with pytest.raises(SourceError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        await read("s3://bucket/folder/a?b.csv")


@pytest.mark.parametrize("url", ["s3://", "s3://bucket", "s3://bucket/", "s3:///key"])
def test_address_of_no_object_is_refused(url: str) -> None:
    with pytest.raises(SourceError, match="expected s3://bucket/key"):
        file_at(url)


async def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(SourceError, match=r"pip install 'chronos-atlas\[s3\]'"):
        await read("s3://bucket/key")
