"""How names are compared: without accents, case or width."""

import unicodedata


def fold(name: str) -> str:
    """Return the form of a name that search and prefix filters compare: "Gödel" becomes "godel"."""
    if name.isascii():
        return " ".join(name.lower().split())
    decomposed = unicodedata.normalize("NFKD", name)
    bare = "".join(character for character in decomposed if not unicodedata.combining(character))
    return " ".join(bare.casefold().split())
