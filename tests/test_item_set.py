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


@given(NUMBERS, st.lists(st.integers(1, 5000) | st.just(10**17)))
def test_places_of_those_added_are_their_first(there: set[int], numbers: list[int]) -> None:
    items = ItemSet(there)
    places = items.add(numbers)
    assert {numbers[place] for place in places} == set(numbers) - there
    assert all(numbers.index(numbers[place]) == place for place in places)
