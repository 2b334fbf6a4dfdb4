"""What is asked for as final trainings."""

from __future__ import annotations

import pytest

from evolver import recipe, retraining
from evolver.errors import InvalidInput
from evolver.store.db import Database
from tests import factories
from tests.factories import do


def test_a_batch_larger_than_the_data_is_refused(database: Database) -> None:
    found = factories.finished(database)
    samples = found.dataset.train + found.dataset.validation
    largest = recipe.load("fast", {"batch_size": samples})
    too_large = recipe.load("fast", {"batch_size": samples + 1})
    with pytest.raises(
        InvalidInput, match=f"{samples} samples to train on, fewer than a batch of {samples + 1}"
    ):
        do(database, retraining.enqueue, found, (), too_large)
    assert do(database, retraining.enqueue, found, (), largest).enqueued
