"""The loader of ``digits``: scikit-learn carries the images, nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from evolver.datasets.files import held_out
from workers.data.base import RawDataset


def digits(path: str | None, data_dir: Path, download: bool) -> RawDataset:
    """The 1,797 images of 8×8, values 0 … 16, with a fixed stratified fifth as the test set."""
    bunch = load_digits()
    x = np.asarray(bunch.images, np.uint8)[:, np.newaxis]
    y = np.asarray(bunch.target, np.int64)
    test = held_out(y)
    return RawDataset(x[~test], y[~test], x[test], y[test], classes=10)
