import asyncio
import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.shards import Split, halves, hex_prefixes, in_order, rest_after

PATHS = st.text("01", max_size=9)
HASHES = [hashlib.md5(str(number).encode()).hexdigest() for number in range(500)]


def members(path: str) -> set[str]:
    prefixes = hex_prefixes(path)
    return {one for one in HASHES if not path or one.startswith(tuple(prefixes))}


@pytest.mark.parametrize(
    ("path", "prefixes"),
    [
        ("", []),
        ("1010", ["a"]),
        ("1", ["8", "9", "a", "b", "c", "d", "e", "f"]),
        ("101011", ["ac", "ad", "ae", "af"]),
        ("00000001", ["01"]),
    ],
)
def test_path_names_hexadecimal_prefixes(path: str, prefixes: list[str]) -> None:
    assert hex_prefixes(path) == prefixes


@given(PATHS, st.integers(1, 4))
def test_halves_make_up_the_whole(path: str, depth: int) -> None:
    parts = [members(part) for part in halves(path, depth)]
    assert set().union(*parts) == members(path)
    assert sum(map(len, parts)) == len(members(path))
    assert all(max(one) < min(other) for one, other in pairwise(part for part in parts if part))


@given(PATHS, PATHS)
def test_rest_is_all_that_comes_after(root: str, below: str) -> None:
    done = members(root + below)
    rest = [members(path) for path in rest_after(root, root + below)]
    last = max(done, default="")
    if done:
        assert set().union(*rest) == {one for one in members(root) if one > last}
    assert all(max(one) < min(other) for one, other in pairwise(part for part in rest if part))


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 5))
def test_pieces_come_in_order_however_they_are_cut(sizes: list[int], ahead: int) -> None:
    """A piece is a range of numbers; one of more than two is cut, and work takes longer the earlier it is begun."""
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    begun: list[int] = []

    async def work(piece: range) -> range | Split[range]:
        begun.append(piece.start)
        for _ in range(len(sizes) * 3 - len(begun)):
            await asyncio.sleep(0)
        middle = (piece.start + piece.stop) // 2
        return piece if len(piece) <= 2 else Split([range(piece.start, middle), range(middle, piece.stop)])

    async def numbers() -> list[int]:
        pieces = [range(start, start + size) for start, size in zip(starts, sizes, strict=True)]
        return [number async for _, answer in in_order(pieces, work, ahead) for number in answer]

    assert asyncio.run(numbers()) == list(range(sum(sizes)))


async def test_pieces_under_way_are_given_up_with_the_rest() -> None:
    ended: list[int] = []

    async def work(piece: int) -> int:
        try:
            await asyncio.sleep(0 if piece == 0 else 60)
        finally:
            ended.append(piece)
        return piece

    answers = in_order([0, 1, 2, 3], work, ahead=3)
    assert await anext(answers) == (0, 0)
    await answers.aclose()
    assert sorted(ended) == [0, 1, 2]
