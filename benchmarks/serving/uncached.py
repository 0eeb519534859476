"""The API as it is shipped, but every answer is computed, for one request."""

import graph.app
from graph.__main__ import app
from graph.answering import Answers, Found, Make


class NoAnswers(Answers):
    """Answers that are neither kept nor shared."""

    async def find(self, key: str | None, make: Make) -> Found:  # noqa: ARG002
        """Compute the answer."""
        return await super().find(None, make)


if __name__ == "__main__":
    # create_app takes the class from its module when it makes the application.
    assert vars(graph.app)["Answers"] is Answers
    vars(graph.app)["Answers"] = NoAnswers
    app(prog_name="python -m benchmarks.serving.uncached")
