"""The one split into training and validation part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evolver.evaluation import DatasetRef
from evolver.space import Sample
from workers.data.split import split_indices

REF = DatasetRef(1, "digits", Sample(1, (8, 8), 10), 80, 20, 25, split_seed=7, sha256=None)


def test_covers_the_training_set_once() -> None:
    train, validation = split_indices(REF, None)
    assert (len(train), len(validation)) == (80, 20)
    assert sorted([*train, *validation]) == list(range(100))


def test_same_seed_same_split_other_seed_other_split() -> None:
    train, validation = split_indices(REF, None)
    again = split_indices(REF, None)
    assert np.array_equal(again[0], train)
    assert np.array_equal(again[1], validation)
    assert not np.array_equal(split_indices(replace(REF, split_seed=8), None)[0], train)


def test_does_not_change_between_versions_of_numpy() -> None:
    assert split_indices(REF, None)[0][:5].tolist() == [88, 42, 26, 50, 54]


@pytest.mark.parametrize("limit", [2, 10, 50, 99])
def test_limit_keeps_that_many_of_the_permutation(limit: int) -> None:
    train, validation = split_indices(REF, limit)
    assert len(validation) == max(1, round(limit / 5))
    everything = np.concatenate(split_indices(REF, None))
    assert np.array_equal(np.concatenate([train, validation]), everything[:limit])


def test_limit_beyond_the_training_set_keeps_all() -> None:
    assert [len(part) for part in split_indices(REF, 1000)] == [80, 20]
