"""The records of the knowledge graph: what transforms yield, checked here and nowhere else."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from db.dates import HistoricalDate
from db.models.atlas import Kind, RelationshipType

MAX_TEXT_LENGTH = 20_000


def _storable(value: str) -> str:
    if "\0" in value:
        raise ValueError("has a NUL character, which PostgreSQL cannot store")
    return value


Storable = Annotated[str, AfterValidator(_storable)]
Text = Annotated[Storable, Field(max_length=MAX_TEXT_LENGTH)]


class Record(BaseModel):
    """What a transform yields: checked once, at the border, and never changed."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)


class EntityRecord(Record):
    """An entity its source describes. A field left unset is one the source does not speak about: it stays as it is.

    Disciplines, field and work type are texts, or the keys of other entities whose names they take.
    """

    key: str
    kind: Kind
    dataset: str
    name: Text | None = None
    labels: Mapping[Storable, Text] = Field(default_factory=dict)
    description: Text | None = None
    disciplines: tuple[Text, ...] = ()
    field: Text | None = None
    work_type: Text | None = None
    discipline_keys: tuple[str, ...] = ()
    field_keys: tuple[str, ...] = ()
    work_type_keys: tuple[str, ...] = ()
    start: HistoricalDate | None = None
    end: HistoricalDate | None = None
    details: Mapping[str, Any] = Field(default_factory=dict)


class MentionRecord(Record):
    """An entity that a statement about another names. Its kind is presumed until its own record arrives."""

    key: str
    kind: Kind
    dataset: str
    name: Text | None = None


class InfluenceRecord(Record):
    """A statement that makes an edge; source is the earlier or enabling side."""

    source: str
    target: str
    type: RelationshipType
    confidence: float = Field(gt=0, le=1)
    dataset: str
    rule: str
    derived: bool = False
    joins: Kind | None = None
    """The kind both ends must be of for the edge to be drawn."""
    statement: str | None = None
    note: Text | None = None

    @model_validator(mode="after")
    def _joins_two(self) -> "InfluenceRecord":
        if self.source == self.target:
            raise ValueError(f"joins {self.source} to itself")
        return self
