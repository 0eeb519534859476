"""Lines such as a Wikidata dump has, made up: deterministic, as long and as nested as real ones, and fast to make.

Modelled on Q646148, Q2112 and Q4132785 as Wikidata gives them: labels in many languages, statements with hashes,
qualifiers and references, sitelinks. About 8 KB a line; of twelve, the first four have properties that join items.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

LANGUAGES = ["en", "de", "fr", "es", "it", "nl", "pl", "pt", "ru", "sv", "ja", "zh", "ar", "ca", "cs", "mul"]
ITEM = "http://www.wikidata.org/entity/"
TEMPLATES = 12
KEPT = 4

_PERSON = {"P31": 5, "P21": 6581097, "P27": 183, "P106": 4964182, "P19": 64, "P20": 90, "P69": 152087, "P1412": 188}
_PLACE = {"P31": 486972, "P17": 183, "P131": 1055, "P421": 6723, "P47": 1066, "P206": 1653, "P1376": 1055, "P6": 567}


def lines(count: int, first: int = 0) -> Iterator[bytes]:
    """Yield so many lines, without commas or line ends."""
    for number in range(first, first + count):
        yield line(number)


def line(number: int) -> bytes:
    """Return the line of a number; its item is Q(number + 1000)."""
    text = _TEMPLATES[number % TEMPLATES].replace(b"@ID@", b"%d" % (number + 1000))
    # Two others that the item stands in relation to: one near, one far.
    return text.replace(b"@NEAR@", b"%d" % (number // 2 + 1000)).replace(b"@FAR@", b"%d" % (number * 7 % 1_000_003 + 1))


def _template(number: int) -> bytes:
    links: dict[str, list[Any]] = {name: [value] for name, value in (_PLACE if number % 2 else _PERSON).items()}
    if number == 0:
        links |= {"P737": ["@NEAR@", "@FAR@"], "P184": ["@FAR@"]}
    elif number == 1:
        links |= {"P31": [7725634], "P50": ["@NEAR@"], "P921": ["@FAR@"]}
    elif number == 2:
        links |= {"P279": ["@NEAR@"], "P361": ["@FAR@"], "P2283": [1234, 5678]}
    elif number == 3:
        links |= {"P800": ["@NEAR@"], "P101": [413], "P1066": ["@FAR@"]}
    claims = {name: [_statement(name, _item(value)) for value in values] for name, values in links.items()}
    if number % 2 == 0:
        claims["P569"] = [_statement("P569", _time("+1839-11-08T00:00:00Z", 11))]
        claims["P570"] = [_statement("P570", _time("+1916-00-00T00:00:00Z", 9))]
    for at, name in enumerate(("P214", "P646", "P227", "P244", "P373")):
        claims[name] = [_statement(name, {"value": f"id/{number}/{at}/@ID@", "type": "string"}, "external-id")]
    entity = {
        "type": "item",
        "id": "Q@ID@",
        "labels": _terms("Item @ID@"),
        "descriptions": _terms(f"something of the kind {number}, made up to be read"),
        "aliases": {"en": [{"language": "en", "value": f"Alias {n} of @ID@"} for n in range(3)]},
        "claims": claims,
        "sitelinks": {
            f"{language}wiki": {"site": f"{language}wiki", "title": "Item @ID@", "badges": []}
            for language in LANGUAGES[:6]
        },
        "pageid": 123,
        "ns": 0,
        "title": "Q@ID@",
        "lastrevid": 2_000_000_000,
        "modified": "2025-01-01T00:00:00Z",
    }
    # An item's number is written twice: quoted in its id, bare beside it.
    return orjson.dumps(entity).replace(b'"@NEAR@"', b"@NEAR@").replace(b'"@FAR@"', b"@FAR@")


def _terms(text: str) -> dict[str, Any]:
    return {language: {"language": language, "value": text} for language in LANGUAGES}


def _item(number: object) -> dict[str, Any]:
    value = {"entity-type": "item", "numeric-id": number, "id": f"Q{number}"}
    return {"value": value, "type": "wikibase-entityid"}


def _time(text: str, precision: int) -> dict[str, Any]:
    calendar = f"{ITEM}Q1985727"
    value = {"time": text, "timezone": 0, "before": 0, "after": 0, "precision": precision, "calendarmodel": calendar}
    return {"value": value, "type": "time"}


def _statement(name: str, datavalue: dict[str, Any], datatype: str = "wikibase-item") -> dict[str, Any]:
    reference = {"snaks": {"P248": [_snak("P248", _item(36578), "wikibase-item")]}, "snaks-order": ["P248"]}
    return {
        "mainsnak": _snak(name, datavalue, datatype),
        "type": "statement",
        "id": f"Q@ID@${hashlib.md5(name.encode()).hexdigest()}",
        "rank": "normal",
        "references": [{"hash": hashlib.sha1(b"reference").hexdigest(), **reference}],
    }


def _snak(name: str, datavalue: dict[str, Any], datatype: str) -> dict[str, Any]:
    digest = hashlib.sha1(name.encode()).hexdigest()
    return {"snaktype": "value", "property": name, "hash": digest, "datavalue": datavalue, "datatype": datatype}


_TEMPLATES = [_template(number) for number in range(TEMPLATES)]
