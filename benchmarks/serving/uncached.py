"""The API as it is shipped, but every answer is computed, for one request."""

import graph.app
from graph.__main__ import app
from graph.answering import Answers, Found, Make
from graph.deadlines import Deadline


class NoAnswers(Answers):
    """Answers that are neither kept nor shared."""

    async def find(self, key: str | None, make: Make, deadline: Deadline | None = None) -> Found:  # noqa: ARG002
        """Compute the answer."""
        return await super().find(None, make, deadline)


def main(name: str) -> None:
    """Serve, under the name of a command."""
    # create_app takes the class from its module when it makes the application.
    assert vars(graph.app)["Answers"] is Answers
    vars(graph.app)["Answers"] = NoAnswers
    app(prog_name=name)


if __name__ == "__main__":
    main("python -m benchmarks.serving.uncached")
