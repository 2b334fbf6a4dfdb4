"""Random generators, derived from what stands in the database.

Pure code takes a generator as an argument; this module is where one comes from.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator


def birth_rng(seed: int, birth: int) -> Generator:
    """The generator of child number ``birth`` (from 1) in an experiment with this seed.

    NumPy's ``SeedSequence`` mixes both numbers, so neighbouring births and seeds are independent
    streams. Both are non-negative; ValueError otherwise.
    """
    return np.random.default_rng([seed, birth])
