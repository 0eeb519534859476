import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner

from db.models.operations import RunStatus
from etl import sparql
from etl.cli import app
from etl.source import SourceError
from etl.sources.wikidata_sparql import WikidataSparql
from tests.faulty_endpoint import COUNT, CUT, ITEMS, STATEMENTS, Answer, Reply, always, once, rows, serving
from tests.test_cli import contents, python
from tests.test_wikidata_sparql import differing, graph, load, query, resume


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparql, "WAIT_INITIAL_SECONDS", 0.01)
    monkeypatch.setattr(sparql, "ATTEMPTS", 3)


@pytest.mark.parametrize(
    "answer",
    [
        once(Reply(status=429, headers={"Retry-After": "0"})),
        once(Reply(status=500, body=b"oops"), STATEMENTS),
        once(Reply(b'{"head":', is_cut=True)),
        lambda query: CUT if STATEMENTS in query and "STRSTARTS" not in query else None,
        lambda query: CUT if ITEMS in query and query.count("wd:Q") > 100 else None,
        once(rows(1_000), COUNT, "?s wdt:P737 ?v"),
        once(rows(3), COUNT, "?s wdt:P101 ?v"),
        once(Reply(b'{"head":{"vars":["s","v"]},"results":{"bindings":[]}}'), STATEMENTS),
    ],
)
async def test_fault_that_passes_leaves_no_trace(engine: AsyncEngine, wikidata_url: str, answer: Answer) -> None:
    await load(engine, WikidataSparql(wikidata_url))
    whole = await graph(engine)
    with serving(answer, wikidata_url) as peer:
        report = await load(engine, WikidataSparql(peer.url))
    assert (report.status, report.problems) == (RunStatus.DONE, [])
    assert (report.counts.inserted, report.counts.updated, report.counts.retired) == (0, 0, 0)
    assert differing(await graph(engine), whole) == []


async def test_timeouts_halve_shards_until_they_are_answered(engine: AsyncEngine, wikidata_url: str) -> None:
    def too_big(query: str) -> Reply | None:
        return CUT if "?s wdt:P737 ?v" in query and query.count("STRSTARTS") in (0, 8) else None

    with serving(too_big, wikidata_url) as peer:
        report = await load(engine, WikidataSparql(peer.url, None, ["P737"]))
    assert (report.status, report.problems) == (RunStatus.DONE, [])
    assert await query(engine, "SELECT count(*) FROM influence") == [(377,)]
    asked = [one for one in peer.queries if "?s wdt:P737 ?v" in one]
    assert [one.count("STRSTARTS") for one in asked].count(0) == 1, "a timeout is not asked again"


WRONG = {
    "wrong counts": always(rows(3), COUNT, "?s wdt:P101 ?v"),
    "always cut": always(CUT, STATEMENTS, "?s wdt:P101 ?v"),
    "always 500": always(Reply(status=500), STATEMENTS, "?s wdt:P101 ?v"),
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
async def test_shard_that_keeps_failing_leaves_the_run_partial(
    engine: AsyncEngine, wikidata_url: str, answer: Answer
) -> None:
    await load(engine, WikidataSparql(wikidata_url))
    whole = await graph(engine)
    async with engine.begin() as connection:
        await connection.execute(text("TRUNCATE entity CASCADE"))
    with serving(answer, wikidata_url) as peer:
        report = await load(engine, WikidataSparql(peer.url))
    assert report.status is RunStatus.PARTIAL
    assert all("P101" in problem for problem in report.problems)
    assert await query(engine, "SELECT count(*) FROM influence WHERE provenance ? 'wikidata/P101'") == [(0,)]
    with serving(lambda _: None, wikidata_url) as peer:
        resumed = await resume(engine, WikidataSparql(peer.url), report.run)
        asked = {re.findall(r"\?s wdt:(P\d+) \?v", one)[0] for one in peer.queries if STATEMENTS in one or COUNT in one}
    assert (resumed.status, resumed.problems) == (RunStatus.DONE, [])
    assert asked == {"P101"}, "only what failed is read again"
    assert differing(await graph(engine), whole) == []


async def test_items_that_cannot_be_read_leave_the_run_partial(engine: AsyncEngine, wikidata_url: str) -> None:
    with serving(always(CUT, ITEMS, "wd:Q868 "), wikidata_url) as peer:
        report = await load(engine, WikidataSparql(peer.url))
    assert report.status is RunStatus.PARTIAL
    (problem,) = report.problems
    assert re.match(r"Q\d+ to Q\d+: the answer is cut", problem)
    assert await query(engine, "SELECT is_stub FROM entity WHERE id = 868") == [(True,)]
    resumed = await resume(engine, WikidataSparql(wikidata_url), report.run)
    assert resumed.status is RunStatus.DONE
    assert await query(engine, "SELECT name FROM entity WHERE id = 868") == [("Aristotle",)]


async def test_endpoint_that_goes_away_fails_the_run_and_it_resumes(engine: AsyncEngine, wikidata_url: str) -> None:
    await load(engine, WikidataSparql(wikidata_url))
    whole = await graph(engine)
    count = [0]

    def dying(_: str) -> Reply | None:
        count[0] += 1
        return Reply(status=502) if count[0] > 30 else None

    with serving(dying, wikidata_url) as peer, pytest.raises(SourceError, match="no longer answers"):
        await load(engine, WikidataSparql(peer.url))
    assert await query(engine, "SELECT status FROM etl_run WHERE id = 2") == [("FAILED",)]
    report = await resume(engine, WikidataSparql(wikidata_url), 2)
    assert (report.status, report.counts.updated, report.counts.retired) == (RunStatus.DONE, 0, 0)
    assert differing(await graph(engine), whole) == []


def test_killed_run_resumes_to_the_same_tables(database: str, clone: Any, migrated: str, wikidata_url: str) -> None:
    """Kill it again and again, after some batches or at any moment, until 20 kills are past."""
    chance = random.Random(20261120)
    kills = 0
    code = -signal.SIGKILL
    while code == -signal.SIGKILL:
        place, amount = chance.choice((("batch", chance.randint(1, 4)), ("time", chance.uniform(0.02, 0.3))))
        done = python(
            database,
            "-m",
            "tests.kill_wikidata",
            wikidata_url,
            *((place, str(amount)) if kills < 20 else ("never", "0")),
        )
        code = done.returncode
        kills += code == -signal.SIGKILL
    assert (code, kills) == (0, 20), done.stderr
    uninterrupted = clone(migrated)
    assert python(uninterrupted, "-m", "etl", "wikidata", "--endpoint", wikidata_url).returncode == 0
    assert contents(database) == contents(uninterrupted)


def etl(database: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return python(database, "-m", "etl", *arguments)


def test_command_loads_reports_and_resumes(database: str, wikidata_url: str) -> None:
    with serving(always(rows(3), COUNT, "?s wdt:P101 ?v"), wikidata_url) as peer:
        command = ("wikidata", "--endpoint", peer.url, "--property", "P737", "--property", "P101")
        done = etl(database, *command, "--contact", "me@example.org", "--json")
        assert done.returncode == 3
        assert "(me@example.org)" in peer.agents[0]
    report = orjson.loads(done.stdout)
    assert report["status"] == "PARTIAL"
    assert re.match(r"P101.* it counts 3 rows and answers \d+", report["problems"][0])
    assert "`python -m etl resume` goes on with it" in done.stderr
    assert "example.org" not in etl(database, "runs", "--json").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 1, "error: https://query.wikidata.org/sparql must be told whom to contact"),
        (("--contact", "me"), 1, "error: the contact 'me' is neither"),
        (("--endpoint", "ftp://x"), 1, "is no endpoint"),
        (("--endpoint", "http://x.test", "--property", "P31"), 1, "error: P31 is none of the properties mapped: P737"),
        (("--seed-class", "5"), 2, "'5' is not an item"),
        (("--since", "yesterday"), 2, "does not match the format"),
    ],
)
def test_command_that_cannot_be_done_says_why(arguments: tuple[str, ...], code: int, message: str) -> None:
    done = CliRunner().invoke(app, ["wikidata", *arguments], env={"ATLAS_CONTACT": ""})
    assert done.exit_code == code
    assert message in done.stderr


def test_refused_client_is_one_clear_line(database: str) -> None:
    with serving(lambda _: Reply(b"no", status=403)) as peer:
        done = etl(database, "wikidata", "--endpoint", peer.url)
    assert done.returncode == 1
    assert "refuses this client (403 Forbidden)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_second_interrupt_does_not_wait_for_the_endpoint(database: str) -> None:
    asked = threading.Event()
    over = threading.Event()

    def silent(_: str) -> Reply:
        asked.set()
        over.wait(60)
        return Reply(status=500)

    with serving(silent) as peer:
        command = [sys.executable, "-m", "etl", "wikidata", "--endpoint", peer.url]
        environment = os.environ | {"DATABASE_URL": database}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            assert asked.wait(60)
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            # The endpoint is silent until the process has ended.
            _, stderr = process.communicate(timeout=30)
            over.set()
    assert process.returncode == 130
    assert "aborted: `python -m etl resume`" in stderr
