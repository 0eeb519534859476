"""One module a source: what it reads, and how a raw row becomes records."""

from db.errors import AtlasError
from etl.source import Source
from etl.sources.prerequisites import Prerequisites
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


def source_class(name: str) -> type[Source]:
    """Return the class of the source that runs record under a name; raises AtlasError for an unknown one."""
    try:
        return SOURCES[name]
    except KeyError:
        raise AtlasError(f"there is no source {name!r}: expected one of {', '.join(sorted(SOURCES))}") from None
