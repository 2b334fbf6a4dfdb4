"""Spaces and genomes for the tests of genomes."""

from __future__ import annotations

import pytest

from evolver.genome.bounds import PRESETS
from evolver.genome.space import ConvSpace


@pytest.fixture(params=sorted(PRESETS))
def space(request: pytest.FixtureRequest) -> ConvSpace:
    """The space of each preset."""
    return ConvSpace(PRESETS[request.param])
