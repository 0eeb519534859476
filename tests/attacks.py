"""Requests that want to break the server, exhaust it or make it talk; what must work is in tests/legitimate.py."""

import json
from dataclasses import dataclass, field
from typing import Any

JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Attack:
    """A request by its parts, as HTTPX takes them."""

    name: str
    method: str = "POST"
    url: str = "/graphql"
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))


def posted(name: str, document: str, variables: Any = None, **more: Any) -> Attack:
    body = {"query": document, "variables": variables, **more}
    return Attack(name, content=json.dumps(body).encode())


def raw(name: str, content: bytes, content_type: str = "application/json") -> Attack:
    return Attack(name, content=content, headers={"content-type": content_type})


def agent(selection: str) -> str:
    return f'{{ figureDetail(id: "Q868") {{ {selection} }} }}'


def times(count: int, text: str) -> str:
    return " ".join(text.replace("#", str(number)) for number in range(count))


def nested(levels: int, field: str, leaf: str = "id") -> str:
    return f"{field} {{ " * levels + leaf + " }" * levels


def fragments(levels: int, spread: str, on: str = "Agent", leaf: str = "id") -> str:
    """Return fragments each of which spreads the next one; `#` is the next one's number."""
    chain = "".join(f"fragment F{n} on {on} {{ {spread.replace('#', str(n + 1))} }} " for n in range(levels))
    return f"{chain} fragment F{levels} on {on} {{ {leaf} }}"


SEARCH = "query ($q: String!) { search(query: $q) { totalCount edges { node { id } } } }"
NODE = "query ($id: ID!) { node(id: $id) { id } }"
AFTER = "query ($c: String) { entities(after: $c) { totalCount } }"
YEARS: list[Any] = [-(10**30), 2**63, 10**18, 1e300, "0000", None, True, [], {}]
TYPES = "{ __schema { types { name fields { name type { name } } } } }"

AMPLIFICATION = [
    posted(
        "fragments doubled 30 times", f"{{ ...F0 }} {fragments(30, '...F# ...F#', 'Query', 'dataVersion { version }')}"
    ),
    posted(
        "fragments doubled 150 times",
        f"{{ ...F0 }} {fragments(150, '...F# ...F#', 'Query', 'dataVersion { version }')}",
    ),
    posted(
        "fragments of relations doubled",
        f"{agent('...F0')} {fragments(40, 'influencedBy { ...F# } influenced { ...F# }')}",
    ),
    posted(
        "fragments spread 60 times a level",
        f"{agent('...F0')} {fragments(6, times(60, 'influencedBy { ...F@ }').replace('@', '#'))}",
    ),
    posted("a chain of 200 fragments", f"{{ ...F0 }} {fragments(200, '...F#', 'Query', 'dataVersion { version }')}"),
    posted(
        "90 fragments compared with each other",
        agent(times(90, "...F#")) + times(90, "fragment F# on Agent { influencedBy { influenced { name } } }"),
    ),
    posted("a circle of one fragment", "{ ...A } fragment A on Query { ...A }"),
    posted("a circle of two fragments", "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A ...A }"),
    posted("a circle through fields", agent("...A") + " fragment A on Agent { influencedBy { ...A } }"),
    posted(
        "unused fragments",
        "{ dataVersion { version } } " + times(150, "fragment F# on Query { dataVersion { version } }"),
    ),
    posted("inline fragments 190 deep", "{ " + "... { " * 190 + "dataVersion { version }" + " }" * 191),
    posted("inline fragments with types", agent(nested(30, "... on Agent { ... on Entity"[:13], "id"))),
    posted("1,000 aliases", "{ " + times(1_000, "a#: __typename") + " }"),
    posted("aliases of a costly field", "{ " + times(60, 'a#: figureDetail(id: "Q868") { id }') + " }"),
    posted("aliases inside", agent(times(100, "a#: influencedBy { id }"))),
    posted("16 aliases", "{ " + times(16, "a#: __typename") + " }"),
    posted(
        "15 aliases of the largest page",
        "{ " + times(15, "a#: entities(first: 100) { edges { node { id name description labels { text } } } }") + " }",
    ),
    posted("fields 1,900 times", "{ dataVersion { " + "version " * 1_900 + "} }"),
    posted("objects 480 times", agent("birth { text } " * 480)),
    posted("relations 240 times", agent("influencedBy { influenced { name } } " * 240)),
    posted("same field with other arguments", agent(times(240, "influencedBy(first: #) { id }"))),
    posted("root fields 490 times", "{ " + "dataVersion { version } " * 490 + "}"),
    posted("directives 300 times", "{ dataVersion " + "@include(if: true) " * 300 + "{ version } }"),
    posted("directives unknown", "{ dataVersion " + times(300, "@a#") + " { version } }"),
    posted("directives on everything", agent("id @skip(if: false) " * 200)),
    posted("variables 400 times", "query (" + times(400, "$a#: ID") + ") { dataVersion { version } }"),
    posted(
        "operations 150 times",
        times(150, "query A# { ...F }") + " fragment F on Query { dataVersion { version } }",
        operationName="A1",
    ),
    posted("operations without a name to choose", times(150, "query A# { __typename }")),
    posted("11 relations deep", agent(nested(10, "influencedBy"))),
    posted("30 relations deep", agent(nested(30, "influencedBy(first: 1)"))),
    posted(
        "pages in pages in pages",
        "{ entities(first: 100) { edges { node { influences(first: 100) { edges { node { influences(first: 100) { edges { cursor } } } } } } } } }",
    ),
    posted(
        "pages by variables",
        "query ($n: Int!) { timelineFigures(first: $n) { works(first: $n) { authors(first: $n) { works(first: $n) { id } } } } }",
        {"n": 100},
    ),
    posted(
        "pages by defaults",
        "query ($n: Int! = 100) { timelineFigures(first: $n) { works(first: $n) { authors(first: $n) { id } } } }",
    ),
    posted(
        "the largest walk with all edges",
        '{ lineage(id: "Q868", first: 5000, maxDepth: 32) { nodes { entity { labels { text } } } edges { provenance { rule } source { name } target { name } } } }',
    ),
    posted(
        "15 of the largest walk",
        "{ " + times(15, 'a#: lineage(id: "Q868", first: 5000, maxDepth: 32) { isTruncated }') + " }",
    ),
    posted("a walk too deep", '{ lineage(id: "Q868", maxDepth: 1000000) { isTruncated } }'),
    posted("a walk too wide", '{ lineage(id: "Q868", first: 1000000) { isTruncated } }'),
    posted("statistics 20 times", "{ stats { " + times(15, "a#: rawRecords") + " authorships } }"),
    posted("counts in a page", "{ entities(first: 100) { edges { node { influences { totalCount } } } } }"),
    posted("@defer", "{ ... @defer { dataVersion { version } } }"),
    posted("@stream", "{ entities { edges @stream(initialCount: 0) { cursor } } }"),
]

INTROSPECTION = [
    posted("introspection 15 times", "{ " + times(15, f"a#: {TYPES[2:-2]}") + " }"),
    posted(
        "introspection of fields of fields",
        "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }",
    ),
    posted(
        "introspection of types of fields",
        "{ __schema { types { fields { type { fields { type { name kind } } } } } } }",
    ),
    posted(
        "introspection 90 types deep",
        '{ __type(name: "Agent") { fields { type { ' + nested(90, "ofType", "name") + " } } } }",
    ),
    posted(
        "introspection by fragments",
        "{ __schema { types { ...F0 } } } "
        + fragments(30, "fields { type { ...F# } } interfaces { ...F# }", "__Type", "name"),
    ),
    posted(
        "introspection with aliases inside",
        "{ __schema { "
        + times(15, "a#: types { name description fields { name description args { name } } }")
        + " } }",
    ),
    posted(
        "possible types of interfaces",
        "{ __schema { types { possibleTypes { interfaces { possibleTypes { interfaces { name } } } } } } }",
    ),
    posted("introspection of a huge name", '{ __type(name: "' + "x" * 100_000 + '") { name } }'),
    posted("__typename 1,900 times", "{ " + "__typename " * 1_900 + "}"),
]

DOCUMENTS = [
    posted("150,000 fields", "{ " + "a " * 100_000 + "}"),
    posted("comments", "#\n" * 120_000 + "{ dataVersion { version } }"),
    posted("commas", "{" + "," * 250_000 + "dataVersion { version } }"),
    posted("a name of 200,000 letters", "{ " + "a" * 200_000 + " }"),
    posted("1,800 long names", "{ dataVersion { " + times(1_800, "a" * 120 + "#") + " } }"),
    posted("a block string of lines", '{ node(id: """' + "\n a" * 80_000 + '""") { id } }'),
    posted("a string of escapes", '{ node(id: "' + "\\u0041" * 35_000 + '") { id } }'),
    posted("selections 600 deep", "{ a " * 600 + "}" * 600),
    posted("selections never closed", "{ a " * 600),
    posted("lists 900 deep", "{ node(id: " + "[" * 900 + "]" * 900 + ") { id } }"),
    posted("objects 400 deep", "{ entities(filter: " + "{a: " * 400 + "1" + "}" * 400 + ") { totalCount } }"),
    posted("types 900 deep", "query ($a: " + "[" * 900 + "Int" + "]" * 900 + ") { node(id: $a) { id } }"),
    posted("a list of 600", "{ nodes(ids: [" + '"Q1" ' * 600 + "]) { id } }"),
    posted("unknown fields", agent(times(1_800, "nam#"))),
    posted("unknown arguments", "{ entities(" + times(600, "firs#: 1") + ") { totalCount } }"),
    posted("unknown input fields", "{ entities(filter: {" + times(600, "kinds#: 1") + "}) { totalCount } }"),
    posted("unknown types", times(400, "query A#($a: Agen#) { __typename }")),
    posted("an integer of 100,000 digits", "{ entities(first: " + "9" * 100_000 + ") { totalCount } }"),
    posted("a float of 100,000 digits", "{ entities(first: 1." + "9" * 100_000 + "e99999) { totalCount } }"),
    posted("a mutation", "mutation { deleteEverything }"),
    posted("a subscription", "subscription { everything }"),
    posted("a type definition", "type Query { a: Int }"),
    posted("half a character", '{ node(id: "\\ud800") { id } }'),
    posted("an unknown escape", '{ node(id: "\\q") { id } }'),
    posted("a NUL in the document", "{ dataVersion\0 { version } }"),
    posted("an empty document", ""),
    posted("a document of blanks", " \n\t,\ufeff"),
    posted("a huge operation name", "query A { __typename }", operationName="B" * 200_000),
]

VALUES = [
    *(
        posted(f"the id {value[:24]!r}", NODE, {"id": value})
        for value in (
            "",
            " ",
            "Q0",
            "Q-1",
            "Q2147483648",
            "Q9223372036854775808",
            "Q18446744073709551616",
            "Q" + "9" * 5_000,
            "q1",
            "Q1'; DROP TABLE entity; --",
            "Q1\0",
            "\ud800",
            "test:" + "x" * 200_000,
            "../../etc/passwd",
            "a/b:c",
            "%00",
            "{{7*7}}",
            "Q1\r\nSet-Cookie: a=b",
            "\u202eQ1",
            "Q\u0661",
        )
    ),
    *(
        posted(f"the search {value[:24]!r}", SEARCH, {"q": value})
        for value in (
            "",
            "' OR 1=1 --",
            "\\",
            "%",
            "_" * 400,
            "a & | ! ( ) : * <-> b",
            "!!!!",
            "a" * 501,
            "\0",
            "\udfff",
            "🧠" * 400,
            "a " * 250,
            "((((((((((",
            "'':*",
            "\u0301" * 400,
        )
    ),
    *(
        posted(f"the cursor {value[:24]!r}", AFTER, {"c": value})
        for value in (
            "",
            "!",
            "=",
            "AAAA",
            "bnVsbA",
            "WzFd",
            "W10",
            "WyJOQU1FX0FTQyIsMSwyXQ",
            "WyJOQU1FX0FTQyIsIlx1MDAwMCIsMV0",
            "A" * 100_000,
            "äöü",
            "WyJOQU1FX0FTQyIsImEiLDFlOTk5XQ",
            "\ud800",
            "WyJOQU1FX0FTQyIsImEiLDE4NDQ2NzQ0MDczNzA5NTUxNjE2XQ",
        )
    ),
    *(
        posted(f"the size {value!r:.24}", "query ($n: Int) { entities(first: $n) { totalCount } }", {"n": value})
        for value in (
            -1,
            101,
            2**31,
            2**63,
            2**64,
            10**40,
            1e308,
            "5",
            True,
            [1],
            {"a": 1},
            1.5,
        )
    ),
    *(
        posted(
            f"the year {value!r:.24}",
            "query ($f: EntityFilter) { entities(filter: $f) { totalCount } }",
            {"f": {"bornBetween": {"from": value, "to": value}}},
        )
        for value in YEARS
    ),
    *(
        posted(f"the run {value!r:.24}", "query ($id: BigInt!) { etlRun(id: $id) { id } }", {"id": value})
        for value in (-1, 2**31, 2**53, 2**63, 2**64, "1", 1.5, None)
    ),
    posted("a year as text", '{ interdisciplinaryContext(year: "0x10") { id } }'),
    posted("a year beyond 32 bits", "{ interdisciplinaryContext(year: 99999999999) { id } }"),
    posted(
        "a list of 100,000 in variables", "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": ["Q1"] * 30_000}
    ),
    posted("251 ids", "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": ["Q1"] * 251}),
    posted("ids within ids", "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": [["Q1"] * 200] * 200}),
    posted(
        "20,000 unknown input fields",
        "query ($f: EntityFilter) { entities(filter: $f) { totalCount } }",
        {"f": {f"kinds{n}": 1 for n in range(15_000)}},
    ),
    posted("20,000 unknown variables", "{ dataVersion { version } }", {f"v{n}": n for n in range(15_000)}),
    posted(
        "50 long unknown input fields",
        "query ($f: EntityFilter) { entities(filter: $f) { totalCount } }",
        {"f": {f"kinds{n}" + "x" * 2_000: "y" * 2_500 for n in range(50)}},
    ),
    posted(
        "250 long unknown enum values",
        'query ($k: [Kind!]) { search(query: "a", kinds: $k) { totalCount } }',
        {"k": ["AGENT" + "T" * 900] * 250},
    ),
    posted(
        "250 short unknown enum values",
        'query ($k: [Kind!]) { search(query: "a", kinds: $k) { totalCount } }',
        {"k": ["AGENTS"] * 250},
    ),
    posted(
        "unknown enum values within filters",
        "query ($f: EntityFilter) { entities(filter: $f) { totalCount } }",
        {"f": {"kinds": ["AGENT" + "T" * 40] * 250, "disciplines": [1] * 250, "datasets": [{}] * 250}},
    ),
    posted(
        "250 unknown enum values in the document",
        '{ search(query: "a", kinds: [' + "AGENTS " * 250 + "]) { totalCount } }",
    ),
    posted(
        "variables 900 deep",
        "query ($f: EntityFilter) { entities(filter: $f) { totalCount } }",
        {"f": json.loads('{"kinds":' * 400 + "1" + "}" * 400)},
    ),
    posted(
        "one long value told 15 times",
        "query ($id: ID!) { " + times(15, "a#: node(id: $id) { id }") + " }",
        {"id": "x" * 200_000},
    ),
    posted(
        "one error a node",
        '{ entities(first: 100) { edges { node { influences(first: -1) { totalCount } label(language: "\0") } } } }',
    ),
    posted(
        "bad cursors in a page", '{ entities(first: 100) { edges { node { influences(after: "!") { totalCount } } } } }'
    ),
    posted("an unknown enum", "{ entities(orderBy: " + "N" * 100_000 + ") { totalCount } }"),
    posted("the cost asked for oddly", "{ dataVersion { version } }", extensions={"cost": {"a": [1]}}),
    posted(
        "a persisted query of an unknown hash",
        "",
        extensions={"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}},
    ),
]

BODIES = [
    *(
        raw(f"body {number}: {body[:20]!r}", body)
        for number, body in enumerate(
            (
                b"",
                b"null",
                b'"x"',
                b"7",
                b"[]",
                b"{}",
                b"true",
                b"{",
                b"[" * 100_000,
                b'{"a":' * 50_000,
                b"NaN",
                b'{"query": NaN}',
                b"\xff\xfe",
                b"\x00",
                b'{"query": "\xff"}',
                b'{"query": 1}',
                b'{"query": ["{ __typename }"]}',
                b'{"query": "{ __typename }", "variables": []}',
                b'{"query": "{ __typename }", "variables": "x"}',
                b'{"query": "{ __typename }", "operationName": {}}',
                b'{"query": "{ __typename }", "extensions": 1}',
                b'{"query": "{ a }", "query": "{ b }"}',
                b'{"query": "query ($n: Int) { entities(first: $n) { totalCount } }", "variables": {"n": '
                + b"9" * 100_000
                + b"}}",
                b'{"query": "query ($n: Int) { entities(first: $n) { totalCount } }", "variables": {"n": 1e99999}}',
                b'{"query": "{ __typename }", "variables": {"a": "\\ud800"}}',
                b'[{"query": "{ __typename }"}]',
                b'[{"query": "{ __typename }"}' + b',{"query": "{ __typename }"}' * 5_000 + b"]",
            )
        )
    ),
    raw("UTF-16", '{"query": "{ __typename }"}'.encode("utf-16")),
    raw("UTF-32 told as such", '{"query": "{ __typename }"}'.encode("utf-32"), "application/json; charset=utf-32"),
    raw("a BOM", b'\xef\xbb\xbf{"query": "{ __typename }"}'),
    raw("300 KB", b'{"query": "' + b" " * 300_000 + b'{ __typename }"}'),
    raw("text", b'{"query": "{ __typename }"}', "text/plain"),
    raw("a form", b"query=%7B__typename%7D", "application/x-www-form-urlencoded"),
    raw("a file", b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x"),
    raw("XML", b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>", "application/xml"),
    raw("an odd media type", b"{}", "application/json; charset=" + "x" * 5_000),
    raw("gzip that is none", b"\x1f\x8b\x08\x00", "application/json"),
]

HTTP = [
    *(Attack(f"the method {method}", method=method) for method in ("PUT", "DELETE", "PATCH", "HEAD", "TRACE", "BREW")),
    Attack("a mutation by GET", "GET", "/graphql?query=mutation%7Ba%7D"),
    Attack("GET without a query", "GET", "/graphql?query="),
    Attack("GET with bad variables", "GET", "/graphql?query=%7B__typename%7D&variables=%7B"),
    Attack("GET with a repeated query", "GET", "/graphql?query=%7Ba%7D&query=%7Bb%7D"),
    Attack("GET with bad escapes", "GET", "/graphql?query=%ff%fe%00%zz"),
    Attack("a URL of 60 KB", "GET", "/graphql?query=" + "x" * 60_000),
    Attack("a path of 20 KB", "GET", "/" + "x" * 20_000),
    Attack("a path upwards", "GET", "/static/graphiql/..%2f..%2f..%2fetc/passwd"),
    Attack("150 headers", content=b"{}", headers=JSON | {f"x-{n}": "1" for n in range(150)}),
    Attack("a header of 40 KB", content=b"{}", headers=JSON | {"x-a": "a" * 40_000}),
    Attack("a huge Accept", content=b"{}", headers=JSON | {"accept": "a/b;q=0.1," * 3_000}),
    Attack("a bad Accept", content=b"{}", headers=JSON | {"accept": "application/json;q=x;q=y,,,;;"}),
    Attack("a body that is longer than told", content=b"{}", headers=JSON | {"content-length": "9" * 30}),
    Attack("a length of 5,000 digits", content=b"{}", headers=JSON | {"content-length": "9" * 5_000}),
    Attack("a length below zero", content=b"{}", headers=JSON | {"content-length": "-1"}),
]

ATTACKS = [*AMPLIFICATION, *INTROSPECTION, *DOCUMENTS, *VALUES, *BODIES, *HTTP]
