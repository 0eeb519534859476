"""Public ids ("Q868", "metacademy:bayes_rule") and the 64-bit internal ids computed from them.

An internal id needs no lookup, so edges can be loaded in bulk before or after the entities they join.
"""

import hashlib
import re

from db.errors import InvalidKeyError

MAX_KEY_LENGTH = 255
HASHED = 1 << 62
"""Ids from here up to 2^63 - 1 are hashes; below it stand the numbers of Wikidata items."""

_WIKIDATA_ITEM = re.compile(r"Q([1-9][0-9]{0,17})")
_NAMESPACED = re.compile(r"[a-z][a-z0-9_.-]*:[^\s\x00-\x1f\x7f]+")


def internal_id(key: str) -> int:
    """Return the internal id of a public key: 1 to 2^63 - 1, the same in every database.

    Raises InvalidKeyError when the text is neither a Wikidata item nor `namespace:name`.
    """
    if item := _WIKIDATA_ITEM.fullmatch(key):
        return int(item[1])
    if len(key) > MAX_KEY_LENGTH or not _NAMESPACED.fullmatch(key):
        raise InvalidKeyError(f"{key[:80]!r} is not an id: give a Wikidata item such as 'Q868' or 'namespace:name'")
    try:
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    except UnicodeEncodeError as error:
        raise InvalidKeyError(f"{key[:80]!r} is not an id: it is not valid Unicode") from error
    return HASHED | (int.from_bytes(digest) >> 2)
