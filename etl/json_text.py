"""JSON taken apart without changing it: each value is the text that was received.

Numbers keep all their digits and objects the order of their keys. A value that is no JSON by itself, such as NaN or
half a surrogate pair, does not keep its neighbours from being cut out: only brackets and strings need be whole.
"""

import re

import msgspec
import orjson

from etl.source import RowError

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|["\[\]{},]', re.DOTALL)
_MEMBER = re.compile(rb'\s*+("(?:[^"\\]|\\.)*+")\s*+:\s*+(.*)', re.DOTALL)
_CLOSED_BY = {b"[": b"]", b"{": b"}"}

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY = msgspec.json.Decoder()


class CutJsonError(ValueError):
    """A text is no JSON, or only the beginning of one."""


def parse(text: bytes) -> object:
    """Parse JSON, integers of any size exactly; raises RowError, also for numbers beyond the range of a double."""
    try:
        return _ANY.decode(text)
    except RecursionError as error:
        raise RowError("not JSON that can be read: nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RowError(f"not JSON: {_reason(text, error)}", value=text[:200].decode("utf-8", "replace")) from error


def cut_array(text: bytes) -> list[bytes]:
    """Return the elements of an array as received; raises CutJsonError."""
    try:
        return [bytes(element) for element in _ARRAY.decode(text)]
    except (msgspec.DecodeError, RecursionError):
        return _pieces(text)


def cut_object(text: bytes) -> dict[str, bytes]:
    """Return the members of an object as received; raises CutJsonError."""
    try:
        return {name: bytes(member) for name, member in _OBJECT.decode(text).items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return dict(_member(piece) for piece in _pieces(text))


def find(text: bytes, path: str) -> bytes | None:
    """Return the value at a path, names joined by dots, as received; None when there is none. Raises CutJsonError."""
    if _kind(text) == b"{" and path in (members := cut_object(text)):
        return members[path]
    found = text
    for part in path.split("."):
        if _kind(found) == b"{" and part in (members := cut_object(found)):
            found = members[part]
        elif _kind(found) == b"[" and part.isdecimal() and int(part) < len(elements := cut_array(found)):
            found = elements[int(part)]
        else:
            return None
    return found


def _kind(text: bytes) -> bytes:
    return text[:1]


def _reason(text: bytes, error: Exception) -> str:
    """Prefer orjson's word: msgspec calls a lone surrogate a cut text."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as better:
        return str(better)
    return str(error)


def _pieces(text: bytes) -> list[bytes]:
    """Cut an array or object at its own commas."""
    text = text.strip()
    still_open: list[bytes] = []
    pieces: list[bytes] = []
    begin = 1
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in _CLOSED_BY:
            still_open.append(_CLOSED_BY[mark])
        elif mark == b"," and len(still_open) == 1:
            pieces.append(text[begin : token.start()].strip())
            begin = token.end()
        elif mark in (b"]", b"}"):
            if not still_open or still_open.pop() != mark:
                break
            if not still_open:
                if token.end() < len(text):
                    raise CutJsonError(f"it goes on after its end at byte {token.end()}")
                last = text[begin : token.start()].strip()
                return [*pieces, last] if last else pieces
        elif mark == b'"':
            break
        if not still_open:
            break
    raise CutJsonError(f"it is cut or malformed within its {len(text)} bytes")


def _member(piece: bytes) -> tuple[str, bytes]:
    found = _MEMBER.fullmatch(piece)
    if found is None:
        raise CutJsonError("it has an object without names")
    name, value = found.groups()
    try:
        return str(orjson.loads(name)), value
    except orjson.JSONDecodeError:
        return name.decode("utf-8", "replace"), value
