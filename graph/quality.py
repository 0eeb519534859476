"""How good the rows of a run were, and how they differ from those of earlier runs."""

from enum import StrEnum
from typing import Any

import strawberry

from db.models import records as models
from graph.pagination import resolved
from graph.scalars import BigInt, described

AQuality = strawberry.Parent[models.RunQuality]


class Drift(StrEnum):
    """How a field differs from the run before."""

    NEW = "NEW"
    MISSING = "MISSING"
    RETYPED = "RETYPED"


described(
    Drift,
    "Drift",
    "How a field of a source differs from the run before.",
    {
        "NEW": "The run before did not have it.",
        "MISSING": "The run before had it.",
        "RETYPED": "Its values have other types than in the run before.",
    },
)


@strawberry.type(description="A field of a source that is not as it was in the run before.")
class FieldDrift:
    """GraphQL's view of an entry of `run_quality.drift`."""

    field: str = strawberry.field(description='The field\'s name in the source: "price".')
    change: Drift = strawberry.field(description="What changed.")
    before: list[str] = strawberry.field(description='The types its values had before: ["number"]; empty when new.')
    after: list[str] = strawberry.field(description="The types its values have; empty when it is missing.")


@strawberry.type(description="A figure of a run that lies far from those of the source's runs before.")
class Anomaly:
    """GraphQL's view of an entry of `run_quality.anomalies`."""

    figure: str = strawberry.field(description='What was counted: "rows".')
    value: float = strawberry.field(description="What it was in the run.")
    median: float = strawberry.field(description="What it usually is: its median over the runs before.")
    score: float | None = strawberry.field(
        description="How far that is, as a modified z-score: beyond 3.5 it is told here. Null when the figure never"
        " differed before."
    )


def _drift(root: AQuality) -> list[FieldDrift]:
    return [
        FieldDrift(field=entry["field"], change=Drift(entry["change"]), before=entry["before"], after=entry["after"])
        for entry in root.drift
    ]


def _anomalies(root: AQuality) -> list[Anomaly]:
    return [Anomaly(**{name: entry[name] for name in ANOMALY_FIELDS}) for entry in root.anomalies]


ANOMALY_FIELDS = ("figure", "value", "median", "score")


def _share(meaning: str) -> Any:
    return strawberry.field(description=f"{meaning}, 0 to 1; null when that cannot be told.")


@strawberry.type(description="How good the rows of a run were: shares from 0 (none) to 1 (all).")
class RunQuality:
    """GraphQL's view of a row of `run_quality`."""

    rows: BigInt = strawberry.field(description="How many rows were judged.")
    completeness: float | None = _share("The share of the mapped values that are there")
    validity: float | None = _share("The share of rows that could be loaded")
    uniqueness: float | None = _share("The share of rows with an id of their own")
    freshness: float | None = _share("1 while the newest record is as young as the source promises, less with its age")
    score: float | None = _share("The mean of those that are known")
    drift: list[FieldDrift] = resolved(_drift, "The fields that are new, missing or of other types than before.")
    anomalies: list[Anomaly] = resolved(_anomalies, "The figures that lie far from those of earlier runs.")
