"""The one split of a training set into training and validation part.

It follows from the data set's row alone, so every worker trains and validates on the same samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evolver.datasets.spec import split_counts
from evolver.evaluation import DatasetRef

Indices = NDArray[np.int64]


def split_indices(ref: DatasetRef, limit_train: int | None) -> tuple[Indices, Indices]:
    """The positions of the training and of the validation samples in the training set, disjoint.

    Both are stretches of one permutation of the whole training set, seeded by ``ref.split_seed``.
    ``limit_train`` keeps its first so many samples; None keeps all, in the counts of the row.
    """
    total = ref.train + ref.validation
    order = np.random.default_rng(ref.split_seed).permutation(total)
    if limit_train is None:
        train, validation = ref.train, ref.validation
    else:
        train, validation = split_counts(total, limit_train)
    return order[:train], order[train : train + validation]
