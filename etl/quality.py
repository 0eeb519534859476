"""The quality of a run's rows, and how they differ from those of the runs before; docs/measures.md has the formulas."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import orjson

from db.session import WriteSession
from etl.staging import Staging

HISTORY_RUNS = 20
FEWEST_RUNS = 5
"""So many earlier runs are needed to call a figure unusual."""
UNUSUAL_SCORE = 3.5
"""A modified z-score beyond this is an outlier (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993)."""

Fields = Mapping[str, Mapping[str, int]]
"""How often a run met each field with values of each type."""

_EARLIER = f"""
    SELECT etl_run.id, run_quality.rows,
           coalesce((SELECT jsonb_object_agg(field, types) FROM (
               SELECT field, jsonb_object_agg(type, count) AS types FROM record_field
               WHERE record_field.run_id = etl_run.id GROUP BY field
           ) AS met), '{{}}') AS fields
    FROM etl_run JOIN run_quality ON run_quality.run_id = etl_run.id
    WHERE etl_run.source = :source AND etl_run.id < :run ORDER BY etl_run.id DESC LIMIT {HISTORY_RUNS}
"""


async def keep_quality(
    session: WriteSession,
    staging: Staging,
    source: str,
    mapped: Sequence[str],
    fresh_within_days: float | None,
) -> None:
    """Count and judge a run's rows, in its publishing transaction; a run that met no fields is not judged."""
    fields = await _keep_fields(session, staging)
    if not fields:
        return
    shares = await _shares(session, staging, mapped, fresh_within_days)
    rows = shares.pop("rows")
    earlier = (await session.execute(_EARLIER, source=source, run=staging.run_id)).all()
    known = [share for share in shares.values() if share is not None]
    found = {
        "run_id": staging.run_id,
        "rows": rows,
        **shares,
        "score": sum(known) / len(known) if known else None,
        "drift": drift(fields, earlier[0].fields) if earlier else [],
        "anomalies": anomalies(rows, fields, [(run.rows, run.fields) for run in earlier]),
    }
    # A partial run that was resumed is published a second time.
    await session.execute("DELETE FROM run_quality WHERE run_id = :run", run=staging.run_id)
    await session.execute(
        "INSERT INTO run_quality SELECT * FROM jsonb_populate_record(NULL::run_quality, CAST(:found AS jsonb))",
        found=orjson.dumps(found).decode(),
    )


async def _keep_fields(session: WriteSession, staging: Staging) -> Fields:
    await session.execute("DELETE FROM record_field WHERE run_id = :run", run=staging.run_id)
    counted = await session.execute(
        f"INSERT INTO record_field (run_id, field, type, count)"
        f" SELECT {staging.run_id}, field, type, sum(count) FROM {staging.table('field')} GROUP BY field, type"
        f" RETURNING field, type, count"
    )
    fields: dict[str, dict[str, int]] = {}
    for row in counted.mappings():
        fields.setdefault(row["field"], {})[row["type"]] = row["count"]
    return fields


async def _shares(
    session: WriteSession, staging: Staging, mapped: Sequence[str], fresh_within_days: float | None
) -> dict[str, Any]:
    filled = " + ".join(f"count({column})" for column in mapped) or "NULL"
    newest = "extract(epoch FROM now() - greatest(max(updated_at), max(created_at))) / 86400"
    result = await session.execute(
        f"""
        SELECT rows, filled::float8 / nullif(loaded * {max(1, len(mapped))}, 0) AS completeness,
               1 - rejected::float8 / rows AS validity, ids::float8 / nullif(loaded, 0) AS uniqueness,
               CASE WHEN age_days > CAST(:fresh AS float8) THEN CAST(:fresh AS float8) / age_days
                    WHEN age_days <= CAST(:fresh AS float8) THEN 1 END AS freshness
        FROM (SELECT count(*) AS rows FROM {staging.table("raw")}) AS received,
             (SELECT count(DISTINCT row_no) AS rejected FROM {staging.table("reject")}) AS refused,
             (SELECT count(*) AS loaded, count(DISTINCT external_id) AS ids, {filled} AS filled,
                     {newest} AS age_days FROM {staging.table("record")}) AS made
        """,
        fresh=fresh_within_days,
    )
    return dict(result.mappings().one())


def drift(fields: Fields, before: Fields) -> list[dict[str, Any]]:
    """Return the fields that are new, missing or of other types than before; null is no type of its own."""
    found = []
    for field in sorted(fields.keys() | before.keys()):
        now, then = _types(fields.get(field, {})), _types(before.get(field, {}))
        is_in_both = field in fields and field in before
        if is_in_both and (now == then or not now or not then):
            continue
        change = "RETYPED" if is_in_both else "NEW" if field in fields else "MISSING"
        found.append({"field": field, "change": change, "before": then, "after": now})
    return found


def _types(counts: Mapping[str, int]) -> list[str]:
    return sorted(kind for kind in counts if kind != "null")


def anomalies(rows: int, fields: Fields, earlier: Sequence[tuple[int, Fields]]) -> list[dict[str, Any]]:
    """Return the figures that lie far from those of the earlier runs: the number of rows, the share of nulls by field.

    The score is the modified z-score: the distance from the median in units of the median absolute deviation, times
    0.6745; of the mean absolute deviation, divided by 1.2533, where more than half of the earlier runs agree.
    """
    if len(earlier) < FEWEST_RUNS:
        return []
    figures = {"rows": (float(rows), [float(count) for count, _ in earlier])}
    for field, types in fields.items():
        history = [_null_share(met[field], count) for count, met in earlier if field in met]
        if len(history) >= FEWEST_RUNS:
            figures[f"nulls of {field}"] = (_null_share(types, rows), history)
    scored = ((name, value, median(history), z_score(value, history)) for name, (value, history) in figures.items())
    return [
        {"figure": name, "value": value, "median": usual, "score": score}
        for name, value, usual, score in scored
        if score is None or abs(score) > UNUSUAL_SCORE
    ]


def z_score(value: float, history: Sequence[float]) -> float | None:
    """Return the modified z-score; None for infinity, that is for a value beside a history that never differed."""
    usual = median(history)
    deviations = [abs(one - usual) for one in history]
    unit = median(deviations) / 0.6745 or sum(deviations) / len(deviations) * 1.2533
    if unit:
        return round((value - usual) / unit, 2)
    return 0.0 if value == usual else None


def _null_share(types: Mapping[str, int], rows: int) -> float:
    """Return the share of rows without a value in a field, whether it is null there or missing."""
    return 1 - sum(count for kind, count in types.items() if kind != "null") / rows
