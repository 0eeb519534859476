from typing import Any

import pytest
from graphql import get_introspection_query, parse

from graph import limits
from graph.cost import cost_of, fields_in, size_variables
from graph.errors import RequestError
from graph.limits import check_document, check_variables, parse_document
from graph.parsed import MAX_KEPT_CHARACTERS, ParsedDocuments
from graph.schema import schema

SCHEMA = schema._schema


def doubling(levels: int, inner: str = "dataVersion { version }") -> str:
    """Return a document whose fragments each spread the next one twice: 2 ** levels fields, were it written out."""
    spreads = "".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }} " for n in range(levels))
    return f"{{ ...F0 }} {spreads} fragment F{levels} on Query {{ {inner} }}"


def nested(levels: int, field: str = "influencedBy(first: 1)", leaf: str = "id") -> str:
    """Return an operation of as many levels of fields."""
    return '{ figureDetail(id: "Q1") { ' + f"{field} {{ " * (levels - 2) + leaf + " }" * (levels - 2) + " } }"


def refusal_of(document: str) -> str:
    with pytest.raises(RequestError) as refused:
        parse_document(document)
    assert (refused.value.extensions or {})["code"] == "LIMIT"
    return refused.value.message


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ("{ " + "a " * 2_000 + "}", "more than 2000 tokens"),
        ("#\n" * 2_001 + "{ a }", "more than 2000 tokens"),
        ("{ a " * 400 + "}" * 400, "nested too deeply"),
        ("{ a(b: " + "[" * 300 + "]" * 300 + ") }", "nested too deeply"),
        ("{ a(b: " + "{c: " * 300 + "1" + "}" * 300 + ") }", "nested too deeply"),
        (nested(13), "has 13 levels of fields: give at most 12"),
        ("{ a { ...F } } fragment F on A { b { ...G } } fragment G on B " + nested(11), "13 levels of fields"),
        ("{ " + "... { " * 45 + "a" + " }" * 46, "46 levels of selections"),
        (doubling(60), "63 levels of selections"),
        (doubling(30), "over a million root fields"),
        ("{ " + " ".join(f"a{n}" for n in range(21)) + " }", "has 21 root fields: give at most 20"),
        ("{ " + " ".join(f"a{n}: a" for n in range(16)) + " }", "has 16 aliases"),
        ("{ a { ...F ...F } } fragment F on A { " + " ".join(f"b{n}: b" for n in range(8)) + " }", "has 16 aliases"),
        ("{ a " + "@include(if: true) " * 51 + "}", "has 51 directives"),
        ("query A " + "@a " * 51 + "{ a }", "has 51 directives"),
        ("query ($a: Int " + "@a " * 51 + ") { a }", "has 51 directives"),
        ("{ ...F @skip(if: false) } fragment F on Query " + "@a " * 50 + "{ a }", "has 51 directives"),
        ("{ a(b: [" + "1 " * 251 + "]) }", "has a list of 251 items: give at most 250"),
        ("{ a(b: {c: [[" + "1 " * 251 + "]]}) }", "list of 251 items"),
        ("query ($a: [Int] = [" + "1 " * 251 + "]) { a }", "list of 251 items"),
        ("{ a @b(c: [" + "1 " * 251 + "]) }", "list of 251 items"),
        ("{ a(b: {c: [" + "9" * 401 + "]}) }", "a number has 401 digits: give at most 400"),
        ("{ a(b: -1." + "9" * 398 + ") }", "a number has 401 digits"),
        ("{ a(b: [{" + " ".join(f"c{n}: 1" for n in range(51)) + "}]) }", "an object of 51 fields: give at most 50"),
        ("{ __schema { a" + " { a" * 14 + " }" * 16, "16 levels of introspection: give at most 15"),
        (
            "{ ...F } fragment F on Query { __type { ...G } } fragment G on A { a" + " { a" * 14 + " }" * 15,
            "16 levels of",
        ),
        ("query A { a } query B " + nested(13), "13 levels of fields"),
    ],
)
def test_document_beyond_a_bound_is_refused(document: str, part: str) -> None:
    assert part in refusal_of(document)


@pytest.mark.parametrize(
    "document",
    [
        "{ " + "a " * 20 + "}",
        nested(12),
        get_introspection_query(input_value_deprecation=True, directive_is_repeatable=True, specified_by_url=True),
        "{ " + " ".join(f"a{n}: a" for n in range(15)) + " }",
        "{ a(b: [" + "1 " * 250 + "]) }",
        "{ a " + "@include(if: true) " * 50 + "}",
        "{ ...F } fragment F on Query { ...G } fragment G on Query { ...F }",
        "{ ...F } fragment F on Query { ...F ...Unknown }",
        "{ a } { b }",
        "type A { a: Int }",
    ],
)
def test_document_within_the_bounds_passes(document: str) -> None:
    parse_document(document)


@pytest.mark.parametrize("levels", [5, 50, 150])
def test_fragments_are_counted_once_each(levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    monkeypatch.setattr(limits.Tally, "add", lambda *_: counted.append(1))
    check_document(parse(doubling(levels)))
    assert len(counted) == 2 * levels + 1


@pytest.mark.parametrize("value", [[1] * 251, {"a": [1] * 251}, [[1] * 251], {"a": {"b": [{"c": [None] * 251}]}}])
def test_list_in_variables_is_bounded(value: Any) -> None:
    with pytest.raises(RequestError, match=r"variable 'ids' has a list of 251 items: give at most 250"):
        check_variables({"fine": [1] * 250, "ids": value})


@pytest.mark.parametrize(
    "value", [dict.fromkeys("abc" + str(n) for n in range(51)), [{"a": {str(n): n for n in range(51)}}]]
)
def test_object_in_variables_is_bounded(value: Any) -> None:
    with pytest.raises(RequestError, match=r"variable 'filter' has an object of 51 fields: give at most 50"):
        check_variables({"filter": value, "fine": dict.fromkeys(map(str, range(50)))})


def test_deep_variables_exhaust_no_stack() -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = [{"a": deep}]
    check_variables({"deep": deep})


def cost(document: str, **variables: Any) -> int:
    return cost_of(SCHEMA, parse_document(document), None, variables)


@pytest.mark.parametrize(
    ("document", "variables", "expected"),
    [
        # A field costs 1, an object 3 more, each as often as the lists around it have entries.
        ('{ node(id: "Q1") { id } }', {}, 1 + 3 + 1),
        ('{ nodes(ids: ["Q1", "Q2"]) { id } }', {}, 1 + 2 * (3 + 1)),
        ("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": ["Q1"] * 5}, 1 + 5 * (3 + 1)),
        ("{ entities(first: 10) { edges { node { id } } } }", {}, 1 + 3 + 1 + 10 * (3 + 1 + 3 + 1)),
        ("{ entities { edges { node { id } } } }", {}, 1 + 3 + 1 + 20 * (3 + 1 + 3 + 1)),
        ("query ($n: Int) { entities(last: $n) { edges { cursor } } }", {"n": 7}, 1 + 3 + 1 + 7 * (3 + 1)),
        ("query ($n: Int = 9) { entities(first: $n) { edges { cursor } } }", {}, 1 + 3 + 1 + 9 * (3 + 1)),
        ("query ($n: Int = 9) { entities(first: $n) { edges { cursor } } }", {"n": None}, 1 + 3 + 1 + 20 * (3 + 1)),
        ("query ($n: Int) { entities(first: $n) { edges { cursor } } }", {"n": 3.0}, 1 + 3 + 1 + 3 * (3 + 1)),
        ("query F { entities(first: 2) { ...E } } fragment E on EntityConnection { edges { cursor } }", {}, 5 + 2 * 4),
        ("{ timelineFigures(first: 5) { works(first: 3) { id } } }", {}, 1 + 5 * (3 + 1 + 3 * (3 + 1))),
        ("{ timelineFigures(first: 5) { works { id } } }", {}, 1 + 5 * (3 + 1 + 6 * (3 + 1))),
        ("{ entities(first: 2) { totalCount } }", {}, 1 + 3 + 20),
        ('{ lineage(id: "Q1", first: 7) { nodes { depth } } }', {}, 1 + 3 + 7 * 3 + 1 + 7 * (3 + 1)),
        ('{ path(from: "Q1", to: "Q2", maxDepth: 4) { nodes { id } } }', {}, 1 + 3 + 5 * 3 + 1 + 5 * (3 + 1)),
        ("{ dataVersion { version } again: dataVersion { version } }", {}, 2 * (1 + 3 + 1)),
    ],
)
def test_cost_follows_the_rule(document: str, variables: dict[str, Any], expected: int) -> None:
    assert cost(document, **variables) == expected


@pytest.mark.parametrize("given", [-1, 101, 10**30, "5", True, [5], 5.5, {}])
def test_size_that_will_be_refused_counts_as_the_largest(given: Any) -> None:
    document = "query ($n: Int) { entities(first: $n) { edges { cursor } } }"
    assert cost(document, n=given) == cost("{ entities(first: 100) { edges { cursor } } }")


def test_huge_literal_size_counts_as_the_largest() -> None:
    largest = cost("{ entities(first: 100) { edges { cursor } } }")
    assert cost("{ entities(first: " + "9" * 400 + ") { edges { cursor } } }") == largest


def test_cost_of_doubling_fragments_is_exact() -> None:
    fragments = "".join(f"fragment F{n} on Agent {{ ...F{n + 1} ...F{n + 1} }} " for n in range(20))
    document = f'{{ figureDetail(id: "Q1") {{ ...F0 }} }} {fragments} fragment F20 on Agent {{ id }}'
    assert cost(document) == 1 + 3 + 2**20


def test_sizes_tell_which_variables_they_depend_on() -> None:
    document = "query ($n: Int, $i: ID!) { entities(first: $n) { totalCount } node(id: $i) { ...F } } "
    document += "fragment F on Agent { works(first: $m) { id } }"
    assert size_variables(parse(document)) == ("m", "n")


def test_introspection_of_tools_is_affordable_and_repeating_it_is_not() -> None:
    query = get_introspection_query(input_value_deprecation=True, descriptions=True)
    assert cost(query) <= limits.MAX_COST
    selected, fragments = query.split("__schema", 1)[1].split("\n}\n", 1)
    twice = f"{{ a: __schema {selected} b: __schema {selected} }} {fragments}"
    assert cost(twice) > limits.MAX_COST


def test_fields_of_an_answer_cost_as_those_of_an_operation() -> None:
    answer = {"nodes": [{"id": "Q1"}, {"id": "Q2"}, None]}
    assert fields_in(answer) == cost('{ nodes(ids: ["Q1", "Q2"]) { id } }')


def test_kept_documents_are_bounded_and_the_same() -> None:
    documents = ParsedDocuments(SCHEMA)
    first = documents.read("{ dataVersion { version } }")
    assert documents.read("{ dataVersion { version } }") is first
    for number in range(10):
        documents.read("{ dataVersion { version } } #" + str(number) * (MAX_KEPT_CHARACTERS // 5))
    assert documents.read("{ dataVersion { version } }") is not first
    assert len(documents._kept) <= 6


@pytest.mark.parametrize("document", ["{", "{ " + "a " * 2_000 + "}"])
def test_kept_refusal_is_raised_anew(document: str) -> None:
    documents = ParsedDocuments(SCHEMA)
    errors = []
    for _ in range(2):
        with pytest.raises(Exception, match=r"Syntax Error|tokens") as raised:
            documents.read(document)
        errors.append(raised.value)
    assert errors[0] is not errors[1]
    assert str(errors[0]) == str(errors[1])


def test_validation_gives_up_on_repeated_fields() -> None:
    document = '{ figureDetail(id: "Q1") { ' + "influencedBy { influenced { id } } " * 200 + "} }"
    (error,) = ParsedDocuments(SCHEMA).read(document).errors
    assert "names the same fields too often" in error.message


def test_validation_tells_a_handful_of_errors() -> None:
    document = '{ figureDetail(id: "Q1") { ' + " ".join(f"no{n}" for n in range(500)) + "} }"
    assert len(ParsedDocuments(SCHEMA).read(document).errors) == limits.MAX_VALIDATION_ERRORS + 1
