import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.errors import InvalidKeyError
from db.keys import HASHED, internal_id

NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Z")), min_size=1, max_size=60)


@given(st.integers(1, 10**18 - 1))
def test_wikidata_item_is_its_number(number: int) -> None:
    assert internal_id(f"Q{number}") == number
    assert 0 < internal_id(f"Q{number}") < HASHED


@given(st.lists(NAMES.filter(lambda name: not any(c.isspace() for c in name)), unique=True, max_size=50))
def test_namespaced_keys_are_distinct_and_apart_from_wikidata(names: list[str]) -> None:
    ids = [internal_id(f"metacademy:{name}") for name in names]
    assert len(set(ids)) == len(ids)
    assert all(HASHED <= internal < 2**63 for internal in ids)


def test_namespaced_key_is_stable_over_releases() -> None:
    assert internal_id("metacademy:bayes_rule") == 6678919221161499158


MALFORMED = ["", "Q", "Q0", "q868", "Q01", "Q1234567890123456789", "868", "bayes_rule", "a:", "A:b", "a:b c", "a:\0"]


@pytest.mark.parametrize("key", [*MALFORMED, "a:\ud800", "a:" + "b" * 254])
def test_malformed_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidKeyError, match="is not an id"):
        internal_id(key)
