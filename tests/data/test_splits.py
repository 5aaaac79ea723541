from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltml.data.splits import split_by_group
from ltml.errors import InputError


@given(st.integers(0, 1000), st.integers(3, 60), st.integers(1, 5))
def test_groups_stay_whole_and_nothing_is_lost(seed: int, groups: int, largest: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"p{g}" for g in range(groups) for _ in range(rng.integers(1, largest + 1))]
    splits = split_by_group(names, (7, 1, 2), seed)
    rows = np.concatenate(list(splits.values()))
    assert sorted(rows) == list(range(len(names)))
    owners = [{names[row] for row in part} for part in splits.values()]
    assert all(owners)
    assert sum(len(owner) for owner in owners) == groups


def test_shares_are_near_the_ratio_and_row_order_does_not_matter() -> None:
    names = np.array([f"p{i // 3}" for i in range(3000)])
    splits = split_by_group(names.tolist(), (7, 1, 2), 0)
    assert [len(splits[name]) for name in ("train", "val", "test")] == pytest.approx([2100, 300, 600], abs=3)
    order = np.random.default_rng(1).permutation(3000)
    shuffled = split_by_group(names[order].tolist(), (7, 1, 2), 0)
    for name in splits:
        assert set(names[splits[name]]) == set(names[order][shuffled[name]])
    assert set(split_by_group(names.tolist(), (7, 1, 2), 1)["val"]) != set(splits["val"])


def test_too_few_groups_is_an_error() -> None:
    with pytest.raises(InputError, match=r"4 images of 2 group\(s\)"):
        split_by_group(["a", "a", "b", "b"], (7, 1, 2), 0)
