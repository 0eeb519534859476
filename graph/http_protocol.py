"""uvicorn's protocol, which itself would take in a URL, a header or a trailer of any size."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from graph.limits import MAX_HEADER_BYTES, MAX_HEADERS, MAX_URL_BYTES

SLACK = 2
"""What is only somewhat too long is still read, to be refused in words by graph.request_bounds."""
MAX_UNFINISHED_BYTES = SLACK * MAX_HEADER_BYTES


class _TooMuchError(Exception):
    """The parser hands it on as its own error, which is answered with 400 and ends the connection."""


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection whose request's head grows beyond all bounds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unfinished = 0
        self._headers = 0
        self._header_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Count what comes without finishing anything: a header or the line of a chunk that does not end."""
        self._unfinished += len(data)
        super().data_received(data)
        if self._unfinished > MAX_UNFINISHED_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's head is too long.")

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._unfinished = self._headers = self._header_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        self._unfinished = 0
        super().on_url(url)
        if len(self.url) > SLACK * MAX_URL_BYTES:
            raise _TooMuchError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer after the body."""
        self._unfinished = 0
        self._headers += 1
        self._header_bytes += len(name) + len(value)
        if self._headers > SLACK * MAX_HEADERS or self._header_bytes > SLACK * MAX_HEADER_BYTES:
            raise _TooMuchError
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._unfinished = 0
        super().on_body(body)
