"""Documents that clients name instead of sending them: those of a file, or those that clients sent once before."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from db.errors import ConfigurationError
from db.shapes import Recent
from graph.errors import Code, RequestError, bad_input
from graph.shared_cache import RedisCache

MAX_DOCUMENTS = 1_000
MAX_DOCUMENT_LENGTH = 50_000
TTL_SECONDS = 7 * 24 * 3600
SHA256_PREFIX = "sha256:"

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Documents:
    """The documents that can be named; with trusted ones, no other is answered."""

    def __init__(self, trusted: Mapping[str, str] | None, shared: RedisCache | None) -> None:
        """Take trusted documents by their names; see `read_documents`."""
        self._trusted = trusted
        self._trusted_texts = frozenset((trusted or {}).values())
        self._shared = shared
        self._recent: Recent[str, str] = Recent(MAX_DOCUMENTS)

    @property
    def are_all_answered(self) -> bool:
        """Tell whether any document may be sent."""
        return self._trusted is None

    async def find(self, query: str | None, name: str | None) -> str | None:
        """Return the document that a request means by its text, its name or both; None when it has neither.

        Raises a RequestError when there is none of the name, or it is not trusted.
        """
        if name is not None and query is not None and sha256_of(query) != name:
            raise bad_input(f"the document's SHA-256 is not {name[:80]}: send that of its text in UTF-8")
        if self._trusted is not None:
            return self._trust(self._trusted, query, name)
        if query is not None or name is None:
            return query
        found = self._recent.find(name)
        if found is None and self._shared is not None and _SHA256.fullmatch(name):
            found = await self._shared.document(name)
            # Redis is another's memory: a document that is not the named one would be answered in its name.
            if found is not None and sha256_of(found) == name:
                self._recent.keep(name, found)
                return found
            found = None
        if found is None:
            # Clients with automatic persisted documents look for exactly this text, or the code.
            raise RequestError(Code.PERSISTED_QUERY_NOT_FOUND, "PersistedQueryNotFound")
        return found

    async def keep(self, sha256: str, text: str) -> None:
        """Remember a document that was sent with its hash, and that can be executed."""
        if self._trusted is not None or len(text) > MAX_DOCUMENT_LENGTH:
            return
        self._recent.keep(sha256, text)
        if self._shared is not None:
            await self._shared.keep_document(sha256, text, TTL_SECONDS)

    def _trust(self, trusted: Mapping[str, str], query: str | None, name: str | None) -> str | None:
        if query is None:
            query = trusted.get(name) if name is not None else None
            if query is not None or name is None:
                return query
        elif query in self._trusted_texts:
            return query
        given = "this document" if name is None else f"the document {name[:80]!r}"
        raise RequestError(
            Code.DOCUMENT_NOT_TRUSTED,
            f"{given} is not one of those that this server answers: send the `documentId` of one that is",
        )


def sha256_of(text: str) -> str:
    """Return the lower-case hexadecimal SHA-256 of a document."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_documents(file: Path) -> dict[str, str]:
    """Read a JSON object of documents by name: the SHA-256 of the text, or any name without a colon.

    Raises ConfigurationError.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"ATLAS_DOCUMENTS_FILE names {file}, which cannot be read: {error.strerror}"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"ATLAS_DOCUMENTS_FILE names {file}, which is not JSON in UTF-8: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ConfigurationError(f"ATLAS_DOCUMENTS_FILE names {file}: it must be an object of documents by their names")
    documents: dict[str, str] = {}
    for name, text in found.items():
        bare = name.removeprefix(SHA256_PREFIX)
        if (bare != name or _SHA256.fullmatch(bare)) and sha256_of(text) != bare:
            raise ConfigurationError(f"ATLAS_DOCUMENTS_FILE names {file}: {name} is not the SHA-256 of its document")
        # However a document is named there, its hash is a name of it.
        documents |= {bare: text, sha256_of(text): text}
    return documents
