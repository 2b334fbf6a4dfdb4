"""How thinly the population stands where a child would be, by what is known of it before training.

Children that are cheap to judge are chosen as LEMONADE does (Elsken, Metzen and Hutter 2019, "Efficient
Multi-Objective Neural Architecture Search via Lamarckian Evolution", section 4): at random, with a
probability proportional to 1 / density at their cheap objectives. Pure.

rarities  one over the density at points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def rarities(points: Points, holders: Points) -> NDArray[np.float64]:
    """One over the density of ``holders`` at ``points``, up to a common factor; shape (points,).

    Both have a column for each cheap objective, of values that are not negative; a genome that holds several
    slots is one holder. The density is a Gaussian kernel estimate on logarithms, each column scaled by its
    standard deviation, with Scott's bandwidth (1992). Columns in which all holders are equal say nothing.

    Two things keep a child from winning just because it is far out, since a Gaussian falls without bound:

    - a point outside the range of the holders counts as the nearest point of that range. Else the largest or
      the smallest network of all candidates would nearly always be taken, and the search would drift there;
    - no point counts as thinner than the place of a holder that stands alone, which is 1 / holders. That
      bounds what corners of the range count where hardly a network is possible, and no candidate can
      outweigh another by more than the number of holders.
    """
    known, asked = np.log1p(np.maximum(holders, 0.0)), np.log1p(np.maximum(points, 0.0))
    spread = known.std(axis=0)
    varies = spread > 1e-9
    if not varies.any():
        return np.ones(len(points))
    known, asked = known[:, varies], asked[:, varies]
    asked = np.clip(asked, known.min(axis=0), known.max(axis=0))
    bandwidth = spread[varies] * len(known) ** (-1.0 / (known.shape[1] + 4))
    distances = (((asked[:, None, :] - known[None, :, :]) / bandwidth) ** 2).sum(axis=2)
    density = np.exp(-0.5 * distances).mean(axis=1)
    weights: NDArray[np.float64] = 1.0 / np.maximum(density, 1.0 / len(known))
    return weights
