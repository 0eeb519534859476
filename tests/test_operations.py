from tests.client import Client


async def test_stats_count_what_there_is(atlas: Client) -> None:
    stats = (
        await atlas.ask("""{ stats {
            dataVersion { version run { id } } entities { kind count stubs } edges { type count derived }
            authorships rawRecords openQuarantine runs { status count }
            sources { source openQuarantine lastSuccess { id status } lastFailure { id error durationSeconds } } } }""")
    )["stats"]
    assert stats["dataVersion"] == {"version": 0, "run": None}
    assert {"kind": "AGENT", "count": 13, "stubs": 1} in stats["entities"]
    assert {"type": "PREREQUISITE_FOR", "count": 7, "derived": 0} in stats["edges"]
    assert {"type": "CAUSED", "count": 0, "derived": 0} in stats["edges"]
    assert [stats[name] for name in ("authorships", "rawRecords", "openQuarantine")] == [5, 4, 1]
    assert [entry for entry in stats["runs"] if entry["count"]] == [
        {"status": "DONE", "count": 1},
        {"status": "FAILED", "count": 1},
    ]
    (source,) = stats["sources"]
    failure = {"id": 2, "error": "no such file", "durationSeconds": None}
    success = {"id": 1, "status": "DONE"}
    assert source == {"source": "test", "openQuarantine": 1, "lastSuccess": success, "lastFailure": failure}


async def test_stats_cost_a_statement_for_each_field_asked(atlas: Client) -> None:
    with atlas.statements() as seen:
        await atlas.ask("{ stats { authorships rawRecords } }")
    assert len(seen) == 2


async def test_runs_come_newest_first_and_page(atlas: Client) -> None:
    query = """query ($after: String, $status: RunStatus, $source: String) {
        etlRuns(first: 1, after: $after, status: $status, source: $source) {
            totalCount pageInfo { hasNextPage endCursor } edges { node { id params status } } } }"""
    page = (await atlas.ask(query))["etlRuns"]
    assert page["edges"] == [{"node": {"id": 2, "params": {"limit": 1}, "status": "FAILED"}}]
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (2, True)
    page = (await atlas.ask(query, after=page["pageInfo"]["endCursor"]))["etlRuns"]
    assert (page["edges"][0]["node"]["id"], page["pageInfo"]["hasNextPage"]) == (1, False)
    assert (await atlas.ask(query, status="DONE"))["etlRuns"]["totalCount"] == 1
    assert (await atlas.ask(query, source="other"))["etlRuns"]["edges"] == []


async def test_sample_tells_its_version_and_run(sample: Client) -> None:
    data = await sample.ask("{ dataVersion { version raisedAt run { source status processed failed } } }")
    run = data["dataVersion"]["run"]
    assert data["dataVersion"]["version"] == 2
    assert (run["source"], run["status"]) == ("sample", "DONE")
    assert run["processed"] > 6_000
