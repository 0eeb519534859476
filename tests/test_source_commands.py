import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from etl.schedule import lines
from etl.source import SourceError
from etl.source_config import read_sources

CONFIG = """
[sources.towns]
kind = "csv"
location = "{directory}/towns.csv"
record = {{ id = "id", title = "name", value = "people" }}

[sources.events]
kind = "jsonl"
location = "{directory}/events.jsonl"
record = {{ id = "id", title = "what" }}
"""
Etl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def etl(database: str, tmp_path: Path) -> Etl:
    (tmp_path / "sources.toml").write_text(CONFIG.format(directory=tmp_path))
    (tmp_path / "towns.csv").write_text("id,name,people\n1,Ulm,126000\n2,Jena,110000\n")
    (tmp_path / "events.jsonl").write_text('{"id":1,"what":"fair"}\n')

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "etl", *arguments, "--config", str(tmp_path / "sources.toml")],
            env=os.environ | {"DATABASE_URL": database},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


def test_all_sources_are_run_and_one_that_fails_stops_no_other(etl: Etl, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").unlink()
    done = etl("run", "--all")
    assert done.returncode == 1
    assert "towns: done, 2 rows: 2 inserted, 0 updated, 0 unchanged, 0 failed" in done.stdout
    assert "error: events: " in done.stderr
    assert "Traceback" not in done.stderr


def test_run_prints_json_and_exits_with_the_worst_code(etl: Etl, tmp_path: Path) -> None:
    found = orjson.loads(etl("run", "towns", "events", "--json").stdout)
    assert [(one["source"], one["status"], one["inserted"]) for one in found] == [
        ("towns", "DONE", 2),
        ("events", "DONE", 1),
    ]
    (tmp_path / "events.jsonl").unlink()
    done = etl("run", "events", "--json")
    assert done.returncode == 1
    assert [(one["source"], one["status"]) for one in orjson.loads(done.stdout)] == [("events", "FAILED")]


def test_sources_are_listed_with_their_trouble_and_last_run(etl: Etl, tmp_path: Path) -> None:
    etl("run", "towns")
    (tmp_path / "events.jsonl").unlink()
    found = orjson.loads(etl("sources", "--json").stdout)
    assert [(one["source"], one["kind"], one["trouble"], one["status"]) for one in found] == [
        ("towns", "csv", None, "DONE"),
        ("events", "jsonl", "there is no such file", None),
    ]


def test_renormalise_applies_the_mapping_of_today_to_the_raw_rows(etl: Etl, tmp_path: Path) -> None:
    (tmp_path / "towns.csv").write_text("id,name,people\n1,Ulm,126000\n2,Jena,many\n")
    assert etl("run", "towns").returncode == 1
    config = tmp_path / "sources.toml"
    config.write_text(config.read_text().replace("[sources.towns]\n", "[sources.towns]\nmax_failed_share = 1\n"))
    assert "1 inserted, 0 updated, 0 unchanged, 1 failed" in etl("run", "towns").stdout
    config.write_text(config.read_text().replace(', value = "people"', ""))
    (tmp_path / "towns.csv").unlink()
    assert "1 inserted, 1 updated, 0 unchanged, 0 failed" in etl("renormalise", "towns").stdout
    assert "0 inserted, 0 updated, 2 unchanged, 0 failed" in etl("renormalise", "towns").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "nothing"], "has no nothing: it has events, towns"),
        (["renormalise", "nothing"], "has no nothing"),
        (["run"], "give the names of sources, or --all"),
        (["schedule", "--at", "25:00"], "'25:00' is not a time of day"),
    ],
)
def test_wrong_arguments_are_told(etl: Etl, arguments: list[str], said: str) -> None:
    done = etl(*arguments)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[sources.a]\nkind = 'csv'", "sources.a.csv.location: Field required"),
        ("[sources.a]\nkind = 'xml'", "sources.a"),
        ("[sources.A]\nkind = 'csv'\nlocation = 'x'", "'A' is not a source's name"),
        ("[sources.a]\nkind = 'csv'\nlocation = 'x'\nnope = 1", "nope: Extra inputs are not permitted"),
        ("[sources.a]\nkind = 'rest'\nurl = 'ftp://x'", "url"),
        ("[sources.a]\nkind = 'csv'\nlocation = 'x'\nrecord = { id = 'a..b' }", "joined by dots"),
        ("[sources.a]\nkind = 'rest'\nurl = 'http://x'\nauth = { env = 'A', send = 'header' }", "give `name`"),
        ("[sources", "cannot be read"),
    ],
)
def test_wrong_file_of_sources_is_told(tmp_path: Path, toml: str, said: str) -> None:
    file = tmp_path / "sources.toml"
    file.write_text(toml)
    with pytest.raises(SourceError, match=r".") as caught:
        read_sources(file)
    assert said in str(caught.value)


def test_missing_file_of_sources_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="write one, or name another with --config"):
        read_sources(tmp_path / "none.toml")


def test_schedule_has_the_command_the_time_and_no_secret(tmp_path: Path) -> None:
    said = lines(["python", "-m", "etl", "run", "--all"], ["--all"], tmp_path, "2:05", None)
    assert f"5 2 * * * cd {tmp_path} && . ./atlas.env && python -m etl run --all" in said
    assert "OnCalendar=*-*-* 02:05:00 UTC" in said
    assert 'schedule: "5 2 * * *"' in said
    assert "5 2 * * *" in lines(["python"], [], tmp_path, "02:05", "cron")
    assert "systemd" not in lines(["python"], [], tmp_path, "02:05", "cron")
