"""Text of a source on its way to a client: JSON goes out as it came in."""

import json

import orjson


def passed_on(text: str) -> object:
    """Pass JSON on as it is: parsing would bend numbers beyond 64 bits. What is not JSON is given as a string."""
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text
    return orjson.Fragment(text)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
