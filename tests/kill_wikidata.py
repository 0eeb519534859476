"""Load from the SPARQL endpoint at a URL in small pieces, or go on with a killed run, and kill this process.

Usage: URL, then as tests/hits.py tells.
"""

import sys

from etl.sources import wikidata_sparql
from etl.sources.wikidata_sparql import WikidataSparql
from tests.hits import main

wikidata_sparql.SHARD_ROWS, wikidata_sparql.BATCH_ITEMS, wikidata_sparql.WANTED_ITEMS = 30, 15, 100

if __name__ == "__main__":
    main(WikidataSparql(sys.argv[1]), sys.argv[2], sys.argv[3])
