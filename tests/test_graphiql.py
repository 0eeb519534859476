"""The GraphiQL page and the files it asks for."""

import re
import shutil
from pathlib import Path

import pytest
from strawberry.http.ides import get_graphql_ide_html

from graph import graphiql, graphiql_files
from graph.graphiql import STATIC_DIRECTORY, STATIC_URL, graphiql_page, has_local_files
from graph.graphiql_files import PINNED_FILES, GraphiQLFilesError, integrity_of, missing_files, put_files

REQUEST = re.compile(r'(?:src|href)="(?P<url>[^"]*)"\s+integrity="(?P<integrity>[^"]*)"')

needs_files = pytest.mark.skipif(not has_local_files(), reason=f"fetch them with {graphiql_files.FETCH_COMMAND}")


def test_page_names_exactly_the_pinned_files() -> None:
    named = {(match["url"], match["integrity"]) for match in REQUEST.finditer(get_graphql_ide_html("graphiql"))}
    assert {(url.split("/", 3)[3], integrity) for url, integrity in named} == {
        (pin.local_path, pin.integrity) for pin in PINNED_FILES
    }


@needs_files
def test_page_with_local_files_names_no_other_host() -> None:
    # The icon's XML namespace is a name, which no browser asks for.
    page = graphiql_page().replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"""(?:https?:)?//[\w-]+\.[^\s"'<]*""", page) == []


@needs_files
def test_page_with_local_files_names_files_with_their_hashes() -> None:
    requests = list(REQUEST.finditer(graphiql_page()))
    assert len(requests) == graphiql_page().count(f'"{STATIC_URL}/') == len(PINNED_FILES)
    for request in requests:
        path = STATIC_DIRECTORY / request["url"].removeprefix(f"{STATIC_URL}/")
        assert integrity_of(path.read_bytes()) == request["integrity"]


def test_page_without_local_files_keeps_the_cdn(tmp_path: Path) -> None:
    requests = REQUEST.findall(get_graphql_ide_html("graphiql"))
    assert REQUEST.findall(graphiql_page(directory=tmp_path)) == requests


@needs_files
def test_page_with_a_damaged_file_keeps_the_cdn(tmp_path: Path) -> None:
    shutil.copytree(graphiql_files.FILES_DIRECTORY, tmp_path, dirs_exist_ok=True)
    assert has_local_files(tmp_path)
    with (tmp_path / PINNED_FILES[0].local_path).open("ab") as file:
        file.write(b" ")
    assert missing_files(tmp_path) == [PINNED_FILES[0]]
    assert STATIC_URL not in graphiql_page(directory=tmp_path)


def test_page_has_the_title(tmp_path: Path) -> None:
    assert "<title>Chronos Atlas · GraphiQL</title>" in graphiql_page(directory=tmp_path)


def test_page_shows_the_default_query(tmp_path: Path) -> None:
    page = graphiql_page('{ a(b: "\\d</script>") }\n', directory=tmp_path)
    assert r'const EXAMPLE_QUERY = "{ a(b: \"\\d\u003c/script>\") }\n";' in page
    assert page.count("</script>") == graphiql_page(directory=tmp_path).count("</script>")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<title>", "<title><b>"),
        ("const EXAMPLE_QUERY", "const QUERY"),
        pytest.param("react@18.2.0", "react@18.2.1", marks=needs_files),
        pytest.param("sha384-tMH8", "sha384-AAAA", marks=needs_files),
        pytest.param(' src="', ' data-src="', marks=needs_files),
    ],
)
def test_page_of_another_strawberry_is_refused(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    template = get_graphql_ide_html("graphiql").replace(old, new)
    monkeypatch.setattr(graphiql, "get_graphql_ide_html", lambda _: template)
    with pytest.raises(graphiql.GraphiQLTemplateError, match="Strawberry's GraphiQL page"):
        graphiql_page("{ a }")


def test_files_without_npm_fail_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GraphiQLFilesError, match=r"^there is no npm on PATH .*$"):
        put_files(tmp_path)


def test_files_of_a_failing_npm_fail_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _make_npm(tmp_path, "echo 'npm error code ENOTFOUND' >&2; exit 1", monkeypatch)
    with pytest.raises(GraphiQLFilesError, match=r"^npm could not fetch .*react@18\.2\.0.*: code ENOTFOUND$"):
        put_files(tmp_path / "files")


@needs_files
def test_files_in_place_need_no_npm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert put_files() == 0


def _make_npm(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = directory / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")
