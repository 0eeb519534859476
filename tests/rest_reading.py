"""Reading the REST API on loopback: its configurations by pagination, and its pages."""

from typing import Any

from etl.record_source import Page
from etl.source import Checkpoint
from etl.source_config import RestConfig
from etl.sources.rest import Rest

SECRET = "s3cret/of+the=source"


ROW = {"id": 1}


PAGINATIONS = {
    "none": ("plain", None, None),
    "page": ("plain", None, {"by": "page", "parameter": "page", "size_parameter": "size", "size": 700}),
    "offset": ("plain", None, {"by": "offset", "size_parameter": "size", "size": 700}),
    "cursor": ("cursor", "data.items", {"by": "cursor", "path": "meta.cursor", "size_parameter": "size", "size": 700}),
    "link": ("link", None, {"by": "link"}),
    "next_url": ("next", "data.items", {"by": "next_url", "path": "next"}),
}


def source(url: str, **config: Any) -> Rest:
    return Rest("api", RestConfig.model_validate({"kind": "rest", "url": url, "requests_per_second": 1000} | config))


async def pages(of: Rest, position: Checkpoint | None = None, state: dict[str, Any] | None = None) -> list[Page]:
    return [page async for page in of.pages(position, state or {})]


def values(found: list[Page]) -> list[Any]:
    return [row.value for page in found for row in page.rows]


async def read(url: str, **config: Any) -> list[Any]:
    return values(await pages(source(url, **config)))


def config_of(pagination: str) -> dict[str, Any]:
    _, rows, by = PAGINATIONS[pagination]
    return {"rows": rows, "pagination": by}


def path_of(pagination: str) -> str:
    return f"/{PAGINATIONS[pagination][0]}/photos" + ("?size=700" if pagination in ("link", "next_url") else "")
