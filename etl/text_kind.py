"""What a file's first bytes tell of it: whether it is a text at all, and in which encoding."""

import codecs
import re

from etl.source import SourceError

SAMPLE_BYTES = 1 << 20

_FOREIGN: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (
        re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE),
        "looks like HTML or XML: an error page, or not the address of the file itself",
    ),
    (re.compile(rb"PK\x03\x04"), "is a zip archive or an Excel workbook: unpack it, or save the sheet as CSV"),
    (re.compile(rb"\xd0\xcf\x11\xe0"), "is an old Excel workbook: save the sheet as CSV"),
    (re.compile(rb"PAR1"), "is a Parquet file"),
    (re.compile(rb"%PDF-"), "is a PDF"),
    (re.compile(rb"\xfd7zXZ|7z\xbc\xaf"), "is packed by xz or 7-Zip: pack it with gzip, bzip2 or zstd"),
    (re.compile(rb"\x1f\x8b\x08"), "is packed twice: unpack it once"),
    (re.compile(rb".{257}ustar", re.DOTALL), "is a tar archive: give a file of it"),
)

_BOMS = (
    # UTF-32's little-endian mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8"),
)
_INVALID = re.compile("[\udc80-\udcff]")
_BEYOND_ASCII = re.compile("[^\0-\x7f]")


def refuse_foreign(name: str, sample: bytes) -> None:
    """Raise SourceError for what is plainly no file of rows."""
    for magic, what in _FOREIGN:
        if magic.match(sample):
            raise SourceError(f"{name} {what}")


def encoding_by_mark(sample: bytes) -> str | None:
    """Return the encoding that a byte order mark names, None when there is none."""
    return next((encoding for mark, encoding in _BOMS if sample.startswith(mark)), None)


def detect_encoding(name: str, sample: bytes) -> tuple[str, str | None]:
    """Return the encoding of a text and a note when it is a guess; raises SourceError for UTF-16 without its mark."""
    if marked := encoding_by_mark(sample):
        return marked, None
    if sample.count(0) * 4 > len(sample):
        raise SourceError(f'{name} is not UTF-8: if it is UTF-16, give encoding = "utf-16-le" or "utf-16-be"')
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(sample)
    invalid = len(_INVALID.findall(text))
    # Another encoding's letters are hardly ever valid UTF-8; a few invalid bytes among valid ones are bad rows.
    if len(_BEYOND_ASCII.findall(text)) >= invalid * 2:
        return "utf-8", None
    try:
        sample.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1", "read as latin-1, since it is neither UTF-8 nor cp1252: give `encoding` if that is wrong"
    return "cp1252", "read as cp1252, since it is not UTF-8: give `encoding` if that is wrong"


def check_encoding(name: str, encoding: str) -> None:
    """Raise SourceError for an encoding Python does not know."""
    try:
        "a".encode(encoding)
    except LookupError as error:
        raise SourceError(f"{name}: {encoding!r} is not an encoding Python knows") from error
