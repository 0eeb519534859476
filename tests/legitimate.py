"""Requests that look like attacks, or are as large as they may be, and must work."""

from graphql import get_introspection_query

from tests.attacks import SEARCH, Attack, posted, times

LEGITIMATE = [
    posted(
        "the introspection of GraphiQL",
        get_introspection_query(
            descriptions=True,
            input_value_deprecation=True,
            directive_is_repeatable=True,
            specified_by_url=True,
            schema_description=True,
        ),
    ),
    posted("the introspection of older tools", get_introspection_query(descriptions=True)),
    posted("a type by name", '{ __type(name: "Agent") { name fields { name type { name kind ofType { name } } } } }'),
    posted(
        "the README's",
        '{ roadmap(conceptId: "test:goal") { learningOrder { concepts { name } } } figureDetail(id: "Q868") { name birth { text } influencedBy(first: 2) { name birthDate } } }',
    ),
    posted(
        "GraphiQL's first example",
        'query Roadmap { knowledgeRoadmap(conceptId: "test:goal") { depth concept { id name } } }',
    ),
    posted(
        "GraphiQL's second example",
        'query Nietzsche { figureDetail(id: "Q9358") { name birth { text } influencedBy { id name birthYear } } }',
    ),
    posted(
        "a page of 100",
        "{ entities(first: 100) { totalCount pageInfo { hasNextPage endCursor } edges { cursor node { id kind name description isStub start { text year precision } end { text } labels { language text } } } } }",
    ),
    posted(
        "a page of 100 with their edges",
        "{ entities(first: 100) { edges { node { id name influences(first: 20) { edges { type confidence node { id name } } } } } } }",
    ),
    posted(
        "two levels without sizes",
        "{ timelineFigures { name influencedBy { name influenced { name } } works { title } } }",
    ),
    posted(
        "20 ids",
        "query ($ids: [ID!]!) { nodes(ids: $ids) { id ... on Agent { birth { text } } ... on Work { title } ... on Concept { field } } }",
        {"ids": [f"Q{n}" for n in range(100, 120)]},
    ),
    posted("100 ids", "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": [f"Q{n}" for n in range(100, 200)]}),
    posted(
        "a walk of 5,000",
        '{ lineage(id: "Q868", direction: FORWARD, first: 5000, maxDepth: 32) { nodes { depth entity { id name } } isTruncated } }',
    ),
    posted(
        "a walk with its edges",
        '{ lineage(id: "Q868", first: 1000) { nodes { depth entity { id name } } edges { source { id } target { id } type confidence } } }',
    ),
    posted(
        "a roadmap of 1,000",
        '{ roadmap(conceptId: "test:goal", maxDepth: 32, first: 1000) { concept { id name } nodes { depth concept { id name } } edges { source { id } target { id } type confidence } mermaid isTruncated } }',
    ),
    posted("a path", '{ path(from: "Q913", to: "Q41390", maxDepth: 32) { length nodes { id name } edges { type } } }'),
    posted("15 aliases", "{ " + times(15, 'a#: figureDetail(id: "Q868") { name birth { text } }') + " }"),
    posted(
        "20 root fields",
        "{ "
        + times(10, "a#: dataVersion { version }")
        + " dataVersion { version } stats { authorships } "
        + times(5, 'b#: node(id: "Q1") { id }')
        + ' entities { totalCount } etlRuns { totalCount } search(query: "a") { totalCount } }',
    ),
    posted(
        "fragments",
        "query ($id: ID!) { figureDetail(id: $id) { ...Card influencedBy(first: 5) { ...Card influencedBy(first: 5) { ...Card } } } } fragment Card on Agent { id name birth { ...When } death { ...When } } fragment When on HistoricalDate { text year precision }",
        {"id": "Q868"},
    ),
    posted(
        "directives",
        'query ($deep: Boolean!) { figureDetail(id: "Q868") { name works @include(if: $deep) { title } influenced @skip(if: $deep) { name } } }',
        {"deep": True},
    ),
    posted(
        "10 levels",
        "{ entities(first: 2) { edges { node { influences(first: 2) { edges { node { influences(first: 2) { edges { node { start { text } } } } } } } } } } }",
    ),
    posted(
        "a filter",
        "query ($f: EntityFilter) { entities(filter: $f, orderBy: START_ASC) { totalCount edges { node { name } } } }",
        {"f": {"kinds": ["AGENT"], "bornBetween": {"from": -600, "to": 1950}, "nameStartsWith": "k"}},
    ),
    posted(
        "a list of 100 disciplines",
        "query ($d: [String]) { timelineFigures(discipline: $d) { name } }",
        {"d": ["philosophy", *(f"d{n}" for n in range(99))]},
    ),
    posted("a search", SEARCH, {"q": 'kant\'s "critique" & more'}),
    posted(
        "statistics",
        "{ stats { entities { kind count } edges { type count } rawRecords runs { status count } sources { source } openQuarantine } dataVersion { version raisedAt } }",
    ),
    posted("Unicode", '{ search(query: "Gödel アリストテレス") { edges { node { name } } } }'),
    posted("a named operation of two", "query A { __typename } query B { dataVersion { version } }", operationName="B"),
    Attack("GET", "GET", "/graphql?query=%7BdataVersion%7Bversion%7D%7D"),
]
