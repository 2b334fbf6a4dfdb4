"""When a training step is launched operation by operation, and when as a graph, in one launch.

At batch 64 the step of a small genome is bound by the launches of its some hundred kernels. Here is
the policy, which knows no device; ``workers.cuda_graph`` does what it decides.
"""

from __future__ import annotations

import logging
import math
from typing import Protocol

from torch import Tensor

from workers.memory import first_line

logger = logging.getLogger(__name__)

WARM_UP_STEPS = 3
"""Eager steps before a capture: libraries choose their algorithms, the optimiser makes its state."""


class Graph(Protocol):
    """A training step that can be recorded. Each of ``eager`` and ``replay`` is one real step."""

    def eager(self, x: Tensor, y: Tensor) -> None:
        """A step, operation by operation."""
        ...

    def capture(self, x: Tensor, y: Tensor) -> None:
        """Record a step for batches of this shape, without carrying it out.

        Raises RuntimeError when it cannot be recorded; ``eager`` works nevertheless.
        """
        ...

    def replay(self, x: Tensor, y: Tensor) -> None:
        """The recorded step, with this batch."""
        ...


class Launches:
    """The steps of one training, as a function of a raw batch.

    Whole batches run eagerly ``WARM_UP_STEPS`` times, then from a graph. A smaller batch, the last of an
    epoch, always runs eagerly; so does everything once a capture has failed.
    """

    def __init__(self, graph: Graph, batch_size: int) -> None:
        self._graph = graph
        self._batch_size = batch_size
        self._warm_up_steps: float = WARM_UP_STEPS
        """Still to be made; infinite where graphs do not work."""
        self._is_captured = False

    def __call__(self, x: Tensor, y: Tensor) -> None:
        """One step."""
        if len(y) != self._batch_size:
            self._graph.eager(x, y)
            return
        if self._warm_up_steps == 0 and not self._is_captured:
            self._capture(x, y)
        if self._is_captured:
            self._graph.replay(x, y)
        else:
            self._graph.eager(x, y)
            self._warm_up_steps -= 1

    def _capture(self, x: Tensor, y: Tensor) -> None:
        try:
            self._graph.capture(x, y)
            self._is_captured = True
        except RuntimeError as error:  # torch's lack of memory is one as well
            self._warm_up_steps = math.inf
            logger.warning("this training runs without CUDA graphs: %s", first_line(error))
