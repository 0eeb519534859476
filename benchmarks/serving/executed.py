"""The API as it is shipped, but no operation is compiled and every answer is computed: Strawberry's own path."""

import graph.app
from benchmarks.serving.uncached import main
from graph.execution import Compiling
from graph.schema import build

if __name__ == "__main__":
    vars(graph.app)["schema"] = build(compiling=Compiling.NEVER)
    main("python -m benchmarks.serving.executed")
