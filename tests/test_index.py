from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sktransfer._features import index
from sktransfer._features.index import NOWHERE, POSITION_BITS, Index
from sktransfer._features.segments import KEY_WORDS

# Of the last two pairs, the first 64 bits are the same, and nearly so.
KEYS = np.array([[i, i, 0, 0] for i in range(6)] + [[9, 1, 0, 0], [9, 2, 0, 0]], np.uint64)
KEYS[:6, 0] <<= np.uint64(58)
KEYS[6:] += np.array([[0, 0, 0, 0], [1 << 40, 0, 0, 0]], np.uint64)


def bytes_of(keys):
    return [key.tobytes() for key in keys]


@pytest.mark.parametrize("fewest_new", [0, 5, 4096])
@settings(max_examples=60)
@given(
    actions=st.lists(
        st.tuples(
            st.sampled_from(["add", "remove", "forget"]),
            st.lists(st.integers(0, len(KEYS) - 1), min_size=1, max_size=5, unique=True),
        ),
        max_size=20,
    )
)
def test_a_key_is_found_where_it_is_and_nowhere_else(fewest_new, actions):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "FEWEST_NEW", fewest_new)
        tried, n_segments = Index(), 0
        places = defaultdict(set)  # number of a key → where it is
        n_added = np.zeros(len(KEYS), int)
        for action, numbers in actions:
            if action == "add":
                segment = n_segments << POSITION_BITS
                tried.add({n_segments: KEYS[numbers]})
                for position, number in enumerate(numbers):
                    places[number].add(segment + position)
                n_added[numbers] += 1
                n_segments += 1
            elif action == "remove" and n_segments:
                removed = numbers[0] % n_segments
                tried.remove(removed)
                for number in places:
                    places[number] = {p for p in places[number] if p >> 32 != removed}
            elif action == "forget":
                gone = np.array(sorted(places[numbers[0]]), np.int64)
                tried.forget(gone)
                places[numbers[0]] = set()
            found = tried.find(bytes_of(KEYS)).tolist()
            for number, place in enumerate(found):
                assert place in places[number] or place == NOWHERE
                if n_added[number] == 1 and places[number]:
                    assert place in places[number]


def test_many_keys_are_found_in_any_order():
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 2**64, (50_000, KEY_WORDS), np.uint64)
    tried = Index()
    for number, part in enumerate(np.split(keys, 50)):
        tried.add({number: part})
    order = rng.permutation(len(keys))
    expected = (order // 1000 << POSITION_BITS) + order % 1000
    np.testing.assert_array_equal(tried.find(bytes_of(keys[order])), expected)
    absent = rng.integers(0, 2**64, (1000, KEY_WORDS), np.uint64)
    assert (tried.find(bytes_of(absent)) == NOWHERE).all()
    assert tried.find([]).shape == (0,)
