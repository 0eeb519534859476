"""What the sources that read one file share."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from etl.files import file_at, is_url
from etl.record_source import Page, RecordSource
from etl.source import Checkpoint
from etl.source_config import CsvConfig, JsonLinesConfig
from etl.streams import in_thread


class FileSource(RecordSource):
    """A file, here or elsewhere, that is read in a thread of its own; a position is a number of lines and a digest."""

    config: CsvConfig | JsonLinesConfig

    @property
    def location(self) -> str:
        """The file's path or address."""
        return self.config.location

    def trouble(self) -> str | None:
        """Tell when there is no such file; one elsewhere is not asked for."""
        is_missing = not is_url(self.location) and not Path(self.location).is_file()
        return "there is no such file" if is_missing else None

    async def pages(self, position: Checkpoint | None, state: dict[str, Any]) -> AsyncGenerator[Page, None]:  # noqa: ARG002
        """Yield the rows from a position on; raises SourceError."""
        file = file_at(self.location)
        async with aclosing(in_thread(file, lambda pieces: self.read(file.name, pieces, position))) as pages:
            async for page in pages:
                yield page

    @abstractmethod
    def read(self, name: str, pieces: Iterator[bytes], position: Checkpoint | None) -> Iterator[Page]:
        """Make pages of the unpacked bytes of the file of that name."""
