"""The API as it is shipped, but every answer is computed, for one request."""

from typing import Any

import graph.app
from graph.__main__ import app
from graph.answering import Answers
from graph.cache import MemoryCache


class NoAnswers(Answers):
    """Answers of which none is kept."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.memory = MemoryCache(max_bytes=0)


def main(name: str) -> None:
    """Serve, under the name of a command."""
    # create_app takes the class from its module when it makes the application.
    assert vars(graph.app)["Answers"] is Answers
    vars(graph.app)["Answers"] = NoAnswers
    app(prog_name=name)


if __name__ == "__main__":
    main("python -m benchmarks.serving.uncached")
