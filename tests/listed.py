"""A configured source whose rows are written in a test."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import orjson

from etl.record_source import Found, Page, RecordSource
from etl.source import Checkpoint, RowError
from etl.source_config import JsonLinesConfig, RecordMapping

MAPPING = {"id": "id", "title": "name", "value": "size", "updated": "at"}


class Listed(RecordSource):
    """Rows such as {"id": 1, "name": "One"}; a text is a row that does not parse. `seen` collects the states."""

    def __init__(
        self,
        rows: Sequence[Any],
        mapping: Mapping[str, Any] = MAPPING,
        *,
        page_rows: int = 3,
        state: dict[str, Any] | None = None,
        **config: Any,
    ) -> None:
        given = RecordMapping.model_validate(mapping)
        super().__init__("listed", JsonLinesConfig(kind="jsonl", location="rows", record=given, **config))
        self._rows, self._page_rows, self._state = rows, page_rows, state
        self.seen: list[dict[str, Any]] = []

    @property
    def location(self) -> str:
        return "rows"

    def trouble(self) -> str | None:
        return None

    async def pages(self, position: Checkpoint | None, state: dict[str, Any]) -> AsyncGenerator[Page, None]:
        self.seen.append(state)
        for start in range(position["row"] if position else 0, len(self._rows), self._page_rows):
            rows = self._rows[start : start + self._page_rows]
            found = [_found(row, f"row {number}") for number, row in enumerate(rows, start + 1)]
            yield Page(found, {"row": start + len(rows)})
        yield Page((), {"row": len(self._rows)}, self._state or {})


def _found(row: Any, place: str) -> Found:
    if isinstance(row, str):
        return Found(row, RowError("not JSON", value=row), place)
    payload = orjson.dumps(row).decode()
    return Found(payload, orjson.loads(payload), place)
