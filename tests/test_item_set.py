from hypothesis import given
from hypothesis import strategies as st

from etl.item_set import ItemSet

NUMBERS = st.sets(st.integers(1, 5000) | st.integers((1 << 28) - 2, (1 << 28) + 2) | st.just(10**17))


@given(NUMBERS, NUMBERS)
def test_item_set_is_a_set(some: set[int], others: set[int]) -> None:
    left, right = ItemSet(some), ItemSet(others)
    merged = ItemSet(some)
    merged.merge(right)
    for number in some | others | {1, 5001, (1 << 28)}:
        assert (number in left) == (number in some)
        assert (number in left.without(right)) == (number in some - others)
        assert (number in merged) == (number in some | others)
    assert bool(left.without(right)) == bool(some - others)
