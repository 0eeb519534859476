"""Files of S3 and of what speaks like it, by the optional extra `s3`."""

import os
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

from etl.source import SourceError

if TYPE_CHECKING:
    from obstore.store import S3Store

RANGE_BYTES = 4 << 20


class S3File:
    """An object of a bucket, asked for range by range; each is tried several times.

    Whose it is and where stands in the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN,
    AWS_REGION, AWS_ENDPOINT_URL; AWS_SKIP_SIGNATURE=true for a bucket that anyone may read.
    """

    def __init__(self, url: str) -> None:
        self.name = url
        self._bucket, _, self._key = url.removeprefix("s3://").partition("/")
        if not self._bucket or not self._key:
            raise SourceError(f"{url} names no object: expected s3://bucket/key")

    async def blocks(self, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield the file's bytes from an offset on; raises SourceError."""
        try:
            from obstore.exceptions import BaseError, PreconditionError
            from obstore.store import S3Store
        except ImportError as error:
            raise SourceError(f"{self.name} needs an extra: pip install 'chronos-atlas[s3]'") from error
        try:
            store = S3Store(self._bucket)
            meta = await store.head_async(self._key)
            while offset < meta["size"]:
                block = await self._range(store, meta, offset)
                offset += len(block)
                yield block
        except PreconditionError as error:
            raise SourceError(f"{self.name} has changed while it was read: start anew") from error
        except (BaseError, OSError) as error:
            # What follows the first line is for those who work on the library.
            reason = str(error).partition("\n")[0]
            hint = "" if isinstance(error, FileNotFoundError) else _credentials_hint()
            raise SourceError(f"{self.name} cannot be read at byte {offset}: {reason}{hint}") from error

    async def _range(self, store: "S3Store", meta: Mapping[str, Any], offset: int) -> bytes:
        # The server refuses an object that was overwritten meanwhile.
        end = min(offset + RANGE_BYTES, meta["size"])
        answer = await store.get_async(self._key, options={"range": (offset, end), "if_match": meta["e_tag"]})
        return bytes(await answer.bytes_async())


def _credentials_hint() -> str:
    if any(os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE")):
        return ""
    return "; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true where anyone may read"
