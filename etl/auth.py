"""A source's secret: taken from the environment, sent to one origin, kept out of all that is shown or stored."""

import json
import os
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

from yarl import URL

from etl.source import SourceError
from etl.source_config import Auth

HIDDEN = "***"
_SHORTEST_HIDDEN = 8
"""A shorter secret would be found, and hidden, in the middle of other words."""


class Credential:
    """What is sent to prove who asks; without `auth` nothing is. Raises SourceError when the secret is not there."""

    def __init__(self, auth: Auth | None, environment: Mapping[str, str] = os.environ) -> None:
        self._auth = auth
        self._secret = "" if auth is None else environment.get(auth.env, "").strip()
        if auth is not None and not self._secret:
            raise SourceError(f"the environment variable {auth.env} is not set: put the source's secret into it")
        if not self._secret.isascii() or not self._secret.isprintable():
            raise SourceError("the secret has characters that HTTP does not allow: is it the right file or variable?")
        self._forms = _forms(self._secret) if self._secret else []

    @property
    def variable(self) -> str | None:
        """The environment variable of the secret."""
        return None if self._auth is None else self._auth.env

    def headers(self) -> dict[str, str]:
        """Return the headers that hold the secret."""
        if self._auth is None or self._auth.send == "query":
            return {}
        if self._auth.send == "bearer":
            return {"Authorization": f"Bearer {self._secret}"}
        return {self._auth.name or "": self._secret}

    def sign(self, url: URL) -> URL:
        """Return the address as it is sent."""
        return url.update_query({self._parameter: self._secret}) if self._parameter else url

    def strip(self, url: URL) -> URL:
        """Return the address without the secret that a server may have repeated in it."""
        return url.without_query_params(self._parameter) if self._parameter else url

    @property
    def _parameter(self) -> str | None:
        return self._auth.name if self._auth is not None and self._auth.send == "query" else None

    def hide(self, text: str) -> str:
        """Return a text for people, without the secret."""
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return text

    def hide_received(self, body: bytes) -> bytes:
        """Return what a server sent without the secret, which some repeat in the addresses of their rows."""
        for form in self._forms if len(self._secret) >= _SHORTEST_HIDDEN else ():
            body = body.replace(form.encode(), HIDDEN.encode())
        return body


def _forms(secret: str) -> list[str]:
    """Return the ways a secret is written in texts, JSON and addresses, the longest first."""
    escaped = json.dumps(secret)[1:-1]
    in_query = URL("/").with_query(key=secret).raw_query_string.removeprefix("key=")
    forms = {secret, escaped, escaped.replace("/", "\\/"), quote(secret, safe=""), quote_plus(secret), in_query}
    return sorted(forms, key=len, reverse=True)
