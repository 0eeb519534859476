"""The GraphiQL page: Strawberry's own, with its scripts and styles served from here when they are here."""

import json
import re
from pathlib import Path

from strawberry.http.ides import get_graphql_ide_html

from graph.graphiql_files import FILES_DIRECTORY, PINNED_FILES, missing_files

TITLE = "Chronos Atlas · GraphiQL"
STATIC_URL = "/static"
STATIC_DIRECTORY = FILES_DIRECTORY.parent

_TITLE = re.compile(r"<title>[^<]*</title>")
_EXAMPLE_QUERY = re.compile(r"const EXAMPLE_QUERY = `[^`]*`;")
_CDN_FILE = re.compile(
    r'(?<=\s)(?P<attribute>src|href)="https?://[^/"]+/(?P<path>(?:@[^@/"]+/)?[^@/"]+@[^"]+)"\s+integrity="(?P<integrity>[^"]+)"'
)


class GraphiQLTemplateError(Exception):
    """Strawberry's page is not the one this module was written for."""


def has_local_files(directory: Path = FILES_DIRECTORY) -> bool:
    """Tell whether every file of the page is here, with the hash that a browser will ask of it."""
    return not missing_files(directory)


def graphiql_page(default_query: str | None = None, *, directory: Path = FILES_DIRECTORY) -> str:
    """Build the page, which asks for its files under STATIC_URL, or from the CDN if they are not in the directory.

    The default query is what the editor shows first; None leaves GraphiQL's own introduction there.
    Raises GraphiQLTemplateError when Strawberry's page has changed.
    """
    page = _replace_once(_TITLE, f"<title>{TITLE}</title>", get_graphql_ide_html("graphiql"))
    if default_query is not None:
        page = _replace_once(_EXAMPLE_QUERY, f"const EXAMPLE_QUERY = {_script_string(default_query)};", page)
    return _with_local_files(page) if has_local_files(directory) else page


def _replace_once(pattern: re.Pattern[str], replacement: str, page: str) -> str:
    page, count = pattern.subn(lambda _: replacement, page)
    if count != 1:
        raise GraphiQLTemplateError(
            f"Strawberry's GraphiQL page has {pattern.pattern!r} {count} times: adapt {__name__}"
        )
    return page


def _script_string(text: str) -> str:
    # A "</script>" in the text would end the script.
    return json.dumps(text).replace("<", r"\u003c")


def _with_local_files(page: str) -> str:
    named = {(match["path"], match["integrity"]) for match in _CDN_FILE.finditer(page)}
    pinned = {(pin.local_path, pin.integrity) for pin in PINNED_FILES}
    if named != pinned:
        raise GraphiQLTemplateError(
            f"Strawberry's GraphiQL page and PINNED_FILES differ in {sorted(named ^ pinned)}: pin what the page names"
        )
    return _CDN_FILE.sub(_local_attributes, page)


def _local_attributes(match: re.Match[str]) -> str:
    url = f"{STATIC_URL}/{FILES_DIRECTORY.name}/{match['path']}"
    return f'{match["attribute"]}="{url}" integrity="{match["integrity"]}"'
