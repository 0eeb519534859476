from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.watermark import Watermark

NOW = datetime(2026, 11, 20, 7, tzinfo=UTC)


def greatest(*values: object) -> str | None:
    watermark = Watermark(now=NOW)
    for value in values:
        watermark.see(value)
    return watermark.text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([9, 10, 2], "10"),
        (["9", "10", 2], "10"),
        ([1.5, "1.25", -3], "1.5"),
        ([123456789012345678901234567890, 123456789012345678901234567891], "123456789012345678901234567891"),
        (["2026-01-02", "2025-12-31"], "2026-01-02"),
        (["2026-01-01T00:00:00Z", "2026-01-01T00:30:00+01:00"], "2026-01-01T00:00:00Z"),
        (["2026-01-01T00:00:00Z", "2025-12-31T23:30:00-01:00"], "2025-12-31T23:30:00-01:00"),
        (["2026-01-01T00:00:00.123456788Z", "2026-01-01T00:00:00.123456789Z"], "2026-01-01T00:00:00.123456789Z"),
        (["2026-01-01 05:00", "2026-01-01T04:00:00"], "2026-01-01 05:00"),
        ([], None),
    ],
)
def test_greatest_value_is_kept_as_written(values: list[object], expected: str | None) -> None:
    assert greatest(*values) == greatest(*reversed(values)) == expected


@pytest.mark.parametrize("value", [None, True, "", "v10", "9999-12-31", "2026-13-01", [1], {"a": 1}, "1" * 200, 7])
def test_value_that_cannot_be_compared_or_lies_in_the_future_is_counted(value: object) -> None:
    watermark = Watermark("2026-01-01", NOW)
    watermark.see(value)
    watermark.see("x")
    assert (watermark.text, watermark.unfit, watermark.example) == ("2026-01-01", 2, value)


@given(st.lists(st.integers(-(10**30), 10**30) | st.floats(-1e9, 1e9), min_size=1))
def test_numbers_compare_as_numbers(numbers: list[float]) -> None:
    assert float(greatest(*numbers) or "") == float(max(numbers))


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(-12, 14)), min_size=1))
def test_times_compare_as_times(given_times: list[tuple[int, int]]) -> None:
    times = [datetime.fromtimestamp(seconds, timezone(timedelta(hours=zone))) for seconds, zone in given_times]
    assert datetime.fromisoformat(greatest(*(time.isoformat() for time in times)) or "") == max(times)
