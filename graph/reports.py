"""What a run of the ETL left in the atlas: counts, beside those of the source's run before."""

from typing import Annotated

import strawberry

from db.models import operations as models
from db.models.operations import FigureGroup
from graph.pagination import resolved
from graph.scalars import BigInt, described

described(
    FigureGroup,
    "FigureGroup",
    "What a figure of a run's report counts.",
    {
        "ROWS": "The run's own rows, by how they ended.",
        "REJECTS": "The run's rows in quarantine, by field and reason; `…` stands for the values that a reason tells.",
        "FIELDS": 'How often the run met a field with a value of a type: "title: text"; `null` is one.',
        "ENTITIES": "Entities in the atlas, by kind, and stubs.",
        "STATEMENTS": 'Edges in the atlas, by each property or rule that they rest on: "wikidata/P737".',
        "LABELS": "Entities in the atlas without a name.",
        "DATES": "Entities in the atlas with dates that look wrong: in the years 1 to 99, or ending before they begin.",
        "GRAPH": "The shape of the graph: cycles of prerequisites; components, which edges of any type hold together.",
    },
)


@strawberry.type(description="A count of a run's report.")
class Figure:
    """GraphQL's view of an entry of `run_report.figures`."""

    group: FigureGroup = strawberry.field(description="What it counts.")
    name: str = strawberry.field(description="Which of these.")
    value: BigInt = strawberry.field(description="The count at the end of the run.")
    previous: BigInt | None = strawberry.field(
        description="The count at the end of the run that it is compared with; null when there is none."
    )
    is_odd: bool = strawberry.field(
        description="Whether it moved oddly: by at least 10 and more than 20 %, or from or to zero."
    )


def _figures(
    root: strawberry.Parent[models.RunReport],
    odd_only: Annotated[bool, strawberry.argument(description="Only those that moved oddly.")] = False,
) -> list[Figure]:
    return [
        Figure(
            group=FigureGroup(row["group"]),
            name=row["name"],
            value=row["value"],
            previous=row["previous"],
            is_odd=row["odd"],
        )
        for row in root.figures
        if row["odd"] or not odd_only
    ]


@strawberry.type(description="What a run left in the atlas: the counts at its end.")
class RunReport:
    """GraphQL's view of a row of `run_report`."""

    version: BigInt = strawberry.field(name="dataVersion", description="The version of the data that was counted.")
    previous_run_id: BigInt | None = strawberry.field(
        description="The number of the run compared with: the source's finished run before; null for its first."
    )
    figures: list[Figure] = resolved(_figures, "The counts, by group and name.")
