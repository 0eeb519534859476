"""One module a source: what it reads, and how a raw row becomes records."""

from typing import Any

from db.errors import AtlasError
from etl.record_source import RecordSource
from etl.renormalise import PREFIX as RENORMALISE
from etl.renormalise import Renormalise
from etl.source import Source
from etl.sources.csv_file import CsvFile
from etl.sources.json_lines import JsonLines
from etl.sources.prerequisites import Prerequisites
from etl.sources.rest import Rest
from etl.sources.sample import Sample
from etl.sources.sparql_json import SparqlJson
from etl.sources.wikidata_dump import WikidataDump
from etl.sources.wikidata_sparql import WikidataSparql

SOURCES: dict[str, type[Source]] = {
    "sample": Sample,
    "sparql-json": SparqlJson,
    "prerequisites": Prerequisites,
    "wikidata": WikidataSparql,
    "wikidata-dump": WikidataDump,
}
CONFIGURED: dict[str, type[RecordSource]] = {"rest": Rest, "csv": CsvFile, "jsonl": JsonLines}
"""The sources of the file of sources, by kind."""


def source_class(name: str) -> type[Source]:
    """Return the class of the source that runs record under a name; raises AtlasError for an unknown one."""
    try:
        return SOURCES[name]
    except KeyError:
        known = ", ".join(sorted(SOURCES))
        raise AtlasError(
            f"there is no source {name!r}: expected one of {known}; for one of sources.toml see `etl renormalise`"
        ) from None


def rebuild(name: str, params: dict[str, Any]) -> Source:
    """Make the source of a run again, from the name and the `params` that the run was recorded with."""
    if "config" not in params:
        return source_class(name).build(params)
    source = CONFIGURED[params["config"]["kind"]].build(params)
    return Renormalise(source) if name.startswith(RENORMALISE) else source
