"""The API as it is shipped, but with a cache of answers that keeps nothing."""

import graph.app
from graph.__main__ import app
from graph.cache import MemoryCache


class NoCache(MemoryCache):
    """A cache that forgets at once."""

    async def set(self, key: str, value: bytes) -> None:
        """Keep nothing."""


if __name__ == "__main__":
    # create_app takes the class from its module when it makes the application.
    assert vars(graph.app)["MemoryCache"] is MemoryCache
    vars(graph.app)["MemoryCache"] = NoCache
    app(prog_name="python -m benchmarks.serving.uncached")
