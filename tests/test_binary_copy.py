from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from db.binary_copy import WRITERS, numbered_rows, row_writer
from db.session import write_session

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
ROWS = st.lists(st.tuples(st.integers(1, 9), st.none() | TEXTS, st.lists(TEXTS), st.none() | st.booleans()))


@pytest.mark.parametrize(
    ("sql_type", "values"),
    [
        ("bigint", [None, 0, -(1 << 63), (1 << 63) - 1]),
        ("integer", [None, 0, -(1 << 31), (1 << 31) - 1]),
        ("smallint", [None, 0, -32768, 32767]),
        ("real", [None, 0.5, -1.25]),
        ("boolean", [None, True, False]),
        ("text", [None, "", "Gödel \U0001f600"]),
        ("jsonb", [None, "{}", '{"ö": [1, null]}']),
        ("bigint[]", [None, [], [1, -2, 1 << 62]]),
        ("text[]", [None, [], ["a", "", "NULL", "ö"]]),
        ("entity_kind", [None, "AGENT", "CONCEPT"]),
        ("relationship_type", [None, "PART_OF"]),
    ],
)
async def test_value_is_stored_as_it_is(engine: AsyncEngine, sql_type: str, values: list[Any]) -> None:
    write = row_writer(["bigint", sql_type])
    async with write_session(engine) as session:
        await session.execute(f"CREATE TABLE staging.written (number bigint, value {sql_type})")
        rows = b"".join(write(row) for row in enumerate(values))
        await session.copy_written("staging", "written", ("number", "value"), (rows,))
        shown = "value::text" if sql_type == "jsonb" else "value"
        found = await session.execute(f"SELECT {shown} FROM staging.written ORDER BY number")
        assert list(found.scalars()) == values


def test_every_type_is_tried() -> None:
    (mark,) = test_value_is_stored_as_it_is.pytestmark
    assert {sql_type for sql_type, _ in mark.args[1]} == WRITERS.keys()


@given(ROWS)
def test_rows_are_told_apart(rows: list[Any]) -> None:
    write = row_writer(["bigint", "text", "text[]", "boolean"])
    written = [write(row) for row in rows]
    assert list(numbered_rows(b"".join(written))) == [(row[0], one) for row, one in zip(rows, written, strict=True)]
