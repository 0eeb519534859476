import pytest

from etl.quality import anomalies, drift, z_score

TEXT = {"text": 10}


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ({"a": TEXT}, {"a": TEXT}, None),
        ({"a": TEXT}, {"a": {"text": 1, "null": 9}}, None),
        ({"a": TEXT}, {"a": {"null": 10}}, None),
        ({"a": TEXT}, {}, "MISSING"),
        ({}, {"a": TEXT}, "NEW"),
        ({"a": TEXT}, {"a": {"integer": 10}}, "RETYPED"),
        ({"a": TEXT}, {"a": {"integer": 1, "text": 9}}, "RETYPED"),
    ],
)
def test_drift_tells_how_a_field_changed(
    before: dict[str, dict[str, int]], after: dict[str, dict[str, int]], change: str | None
) -> None:
    assert [found["change"] for found in drift(after, before)] == ([change] if change else [])


@pytest.mark.parametrize(
    ("value", "history", "score"),
    [
        (10, [10, 10, 10], 0),
        (11, [10, 10, 10], None),
        # The median absolute deviation of 8, 9, 10, 11, 12 from 10 is 1.
        (14, [8, 9, 10, 11, 12], 2.7),
        (6, [8, 9, 10, 11, 12], -2.7),
        # More than half are 10: the mean absolute deviation, 1, stands in.
        (15, [10, 10, 10, 10, 15], 3.99),
    ],
)
def test_score_is_the_modified_z_score(value: float, history: list[float], score: float | None) -> None:
    assert z_score(value, history) == score


def test_share_of_nulls_that_leaps_is_an_anomaly() -> None:
    earlier = [(10, {"a": {"text": 10}})] * 5
    assert [one["figure"] for one in anomalies(10, {"a": {"text": 3, "null": 7}}, earlier)] == ["nulls of a"]
    assert [one["figure"] for one in anomalies(10, {"a": {"text": 3}}, earlier)] == ["nulls of a"]
    assert anomalies(10, {"a": {"text": 10}}, earlier) == []
    assert anomalies(99, {"a": {"text": 99}}, earlier[:4]) == []
