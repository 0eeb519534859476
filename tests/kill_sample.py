"""Load the sample in small batches, or go on with a killed run, and kill this process. Usage: see tests/hits.py."""

import sys

from etl.sources import prerequisites, sparql_json
from etl.sources.sample import Sample
from tests.hits import main

sparql_json.BATCH_ROWS = prerequisites.BATCH_ROWS = 400

if __name__ == "__main__":
    main(Sample(), sys.argv[1], sys.argv[2])
