from datetime import UTC, datetime

import pytest

from etl.http import asked_to_wait, is_passing, parse_retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("17", 17),
        ("0", 0),
        ("9" * 400, None),
        ("-3", 0),
        ("soon", None),
        ("Fri, 20 Nov 2026 07:00:30 GMT", 30),
        ("Fri, 20 Nov 2026 06:00:00 GMT", 0),
        ("Fri, 20 Nov 2026 07:00:30 -0000", 30),
    ],
)
def test_retry_after_is_read_as_number_or_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, datetime(2026, 11, 20, 7, tzinfo=UTC)) == seconds


def test_date_to_wait_for_counts_from_the_clock_of_the_server() -> None:
    headers = {"Date": "Fri, 20 Nov 2020 07:00:00 GMT", "Retry-After": "Fri, 20 Nov 2020 07:01:00 GMT"}
    assert asked_to_wait(headers) == 60


@pytest.mark.parametrize(("status", "passes"), [(404, False), (408, True), (429, True), (501, True), (599, True)])
def test_what_may_pass(status: int, passes: bool) -> None:
    assert is_passing(status) is passes
