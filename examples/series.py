"""Write scikit-learn's handwritten digits as series, for a search that is not about images.

    python examples/series.py
    evolver run series --dataset npz:digits-series.npz --data-dir . --space tiny --recipe fast \\
        --population 8 --budget 24

Each 8×8 image becomes a series of eight steps, its columns from left to right, with eight values a step:
shape C×L = 8×8. Among the sets that scikit-learn ships this is the one whose values have an order to
convolve along; the columns of its tables (wine, breast cancer) have none. The test set is that of the
built-in data set ``digits``, so that the errors of both can be compared.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from evolver.datasets.files import held_out

PATH = Path("digits-series.npz")


def main(path: Path = PATH) -> None:
    """Write the four arrays that ``npz:`` reads; x is of shape (N, C, L), as ``layout`` says."""
    x, y = load_digits(return_X_y=True)
    series = x.reshape(-1, 8, 8).astype(np.float32)  # (N, row, column): rows are channels, columns are steps
    test = held_out(y)
    np.savez_compressed(
        path,
        x_train=series[~test],
        y_train=y[~test],
        x_test=series[test],
        y_test=y[test],
        layout="NCL",
    )
    print(f"{path}: {(~test).sum()} series to train and {test.sum()} to test on, 8×8, 10 classes")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
