from pathlib import Path
from typing import Any

import orjson
import pytest

from db.dates import Precision
from db.errors import AtlasError
from etl.facts import EntityRecord, MentionRecord
from etl.pipeline import transform
from etl.source import RawRow, RowError, Source, SourceError
from etl.sources import SOURCES, source_class
from etl.sources.prerequisites import Prerequisites
from etl.sources.sample import Sample
from etl.sources.sparql_json import SparqlJson

ENTITY = "http://www.wikidata.org/entity/"
GENID = "http://www.wikidata.org/.well-known/genid/3cd44ecc3217cc5d9585504e9e7afa3d"


def binding(**values: str) -> dict[str, Any]:
    return {name: {"type": "literal", "value": value} for name, value in values.items()}


async def rows_of(source: Source) -> list[RawRow]:
    return [row async for batch in source.batches(None) for row in batch.rows]


async def records_of(tmp_path: Path, *bindings: dict[str, Any]) -> list[Any]:
    file = tmp_path / "answer.json"
    file.write_bytes(orjson.dumps(bindings))
    source = SparqlJson([file], ["philosophy"])
    return [record for row in await rows_of(source) for record in source.transform(row)]


async def test_people_bindings_of_one_person_become_one_entity(tmp_path: Path) -> None:
    common = {"p": ENTITY + "Q868", "pLabel": "Aristotle", "pLabel_de": "Aristoteles", "birth": "-0383-01-01T00:00:00Z"}
    (person,) = await records_of(
        tmp_path, binding(**common, countryLabel="Stagira"), binding(**common, countryLabel="Athens")
    )
    assert isinstance(person, EntityRecord)
    assert (person.key, person.name, person.disciplines) == ("Q868", "Aristotle", ("philosophy",))
    assert person.labels == {"en": "Aristotle", "de": "Aristoteles"}
    assert person.details == {"countries": ["Athens", "Stagira"]}
    assert person.start is not None
    assert (person.start.year, person.start.precision, person.end) == (-383, Precision.YEAR, None)


async def test_people_unknown_value_is_no_date(tmp_path: Path) -> None:
    (person,) = await records_of(tmp_path, binding(p=ENTITY + "Q1", birth=GENID, death="1900-08-25T00:00:00Z"))
    assert person.start is None
    assert person.end.isoformat() == "1900-08-25"


async def test_people_best_of_several_birth_dates_is_taken(tmp_path: Path) -> None:
    dates = ["1904-01-01T00:00:00Z", "1903-04-05T00:00:00Z", "1903-04-03T00:00:00Z", "1903-01-01T00:00:00Z"]
    (person,) = await records_of(tmp_path, *(binding(p=ENTITY + "Q1", birth=date) for date in dates))
    assert person.start.isoformat() == "1903-04-03"


@pytest.mark.parametrize(
    ("birth", "death", "precisions"),
    [
        ("0500-01-01", "0485-01-01", (Precision.CENTURY, Precision.YEAR)),
        ("-0459-01-01", "-0500-01-01", (Precision.YEAR, Precision.CENTURY)),
        ("0200-01-01", "0250-01-01", (Precision.YEAR, Precision.YEAR)),
    ],
)
async def test_people_full_hundred_that_contradicts_is_a_century(
    tmp_path: Path, birth: str, death: str, precisions: tuple[Precision, Precision]
) -> None:
    (person,) = await records_of(tmp_path, binding(p=ENTITY + "Q1", birth=birth, death=death))
    assert (person.start.precision, person.end.precision) == precisions


async def test_people_dead_before_birth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RowError, match="dead in 1850, before the birth in 1901"):
        await records_of(tmp_path, binding(p=ENTITY + "Q1", birth="1901-02-03", death="1850-01-01"))


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ({"pLabel": "Q1067", "pLabel_ja": "ダンテ", "pLabel_it": "Dante"}, "Dante"),
        ({"pLabel": "Q1067"}, None),
        ({"pLabel": "Dante Alighieri", "pLabel_de": "Dante"}, "Dante Alighieri"),
    ],
)
async def test_people_number_is_no_label_and_any_language_is_better(
    tmp_path: Path, labels: dict[str, str], name: str | None
) -> None:
    (person,) = await records_of(tmp_path, binding(p=ENTITY + "Q1067", birth="1265-01-01", **labels))
    assert person.name == name


async def test_influence_leads_from_the_influencer(tmp_path: Path) -> None:
    shakespeare, nietzsche, *_, (table, edge) = await records_of(
        tmp_path,
        binding(p=ENTITY + "Q9358", pLabel="Q9358", influenced=ENTITY + "Q692", influencedLabel="William Shakespeare"),
    )
    assert (table, edge[1:4]) == ("influence", (692, "INFLUENCED", 9358))
    assert isinstance(nietzsche, MentionRecord)
    assert (shakespeare.name, nietzsche.name) == ("William Shakespeare", None)


@pytest.mark.parametrize("uri", [GENID, "http://www.wikidata.org/entity/P31", "Q9358", ""])
async def test_influence_of_no_item_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(RowError, match="not the URI of a Wikidata item"):
        await records_of(tmp_path, binding(p=ENTITY + "Q9358", influenced=uri))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"p": {"value": "http', "not complete JSON"),
        (b"[]\njava.util.concurrent.TimeoutException", "not complete JSON"),
        (b'{"boolean": true}', "no SPARQL JSON result"),
        (b'[{"p": "Q1"}]', "no SPARQL JSON result"),
        (b'[{"item": {"value": "Q1"}}]', "has the variables item: expected p"),
    ],
)
async def test_sparql_json_file_of_another_form_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "answer.json"
    file.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        await rows_of(SparqlJson([file]))


async def test_sparql_json_whole_answer_reads_like_bare_bindings(tmp_path: Path) -> None:
    bindings = [binding(p=ENTITY + "Q1", birth="1900-01-02")]
    whole, bare = tmp_path / "whole.json", tmp_path / "bare.json"
    whole.write_bytes(orjson.dumps({"head": {"vars": ["p", "birth"]}, "results": {"bindings": bindings}}))
    bare.write_bytes(orjson.dumps(bindings))
    assert await rows_of(SparqlJson([whole])) == await rows_of(SparqlJson([bare]))


@pytest.mark.parametrize(
    ("concepts", "message"),
    [("tag,title\na,A\n", "lacks the column summary"), ('tag,title,summary\na,"A\n', "is not UTF-8 CSV")],
)
async def test_prerequisites_file_of_another_form_is_refused(tmp_path: Path, concepts: str, message: str) -> None:
    file, edges = tmp_path / "concepts.csv", tmp_path / "edges.csv"
    file.write_text(concepts)
    edges.write_text("prerequisite_tag,concept_tag,reason\n")
    with pytest.raises(SourceError, match=message):
        await rows_of(Prerequisites(file, edges))


async def test_every_batch_of_the_sample_can_be_resumed_from() -> None:
    sample = Sample()
    batches = [batch async for batch in sample.batches(None)]
    everything = [row for batch in batches for row in batch.rows]
    seen = 0
    for batch in batches:
        seen += len(batch.rows)
        rest = [row async for later in sample.batches(batch.checkpoint) for row in later.rows]
        assert rest == everything[seen:]
    assert len(everything) == await sample.count() == 6912


async def test_every_row_of_the_sample_can_be_loaded() -> None:
    sample = Sample()
    for row in await rows_of(sample):
        assert transform(sample, row)


@pytest.mark.parametrize("name", ["prerequisites", "sample", "sparql-json"])
def test_source_is_built_again_from_its_params(name: str, tmp_path: Path) -> None:
    made: dict[str, Source] = {
        "sample": Sample(),
        "sparql-json": SparqlJson([tmp_path / "a.json"], ["philosophy"]),
        "prerequisites": Prerequisites(tmp_path / "concepts.csv", tmp_path / "edges.csv"),
    }
    assert SOURCES[name].build(made[name].params()).params() == made[name].params()


def test_unknown_source_is_named_with_the_known() -> None:
    with pytest.raises(AtlasError, match="there is no source 'nope': expected one of prerequisites, sample"):
        source_class("nope")
