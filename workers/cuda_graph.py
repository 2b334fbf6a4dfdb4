"""A training step as a CUDA graph.

launcher   how the steps of a training are launched on a device.
CudaGraph  the graph.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from workers.launches import Launches
from workers.step import Step


def launcher(step: Step, device: torch.device, batch_size: int) -> Callable[[Tensor, Tensor], None]:
    """How to launch a step, as a function of a raw batch: on CUDA as a graph, elsewhere as it is."""
    return Launches(CudaGraph(step, device), batch_size) if device.type == "cuda" else step


class CudaGraph:
    """Implements ``workers.launches.Graph``.

    Eager steps run on the stream that is recorded from, as warm-up must not use the default one; the
    rest of the training stays on the current stream, and each waits for the other on the device.
    """

    def __init__(self, step: Step, device: torch.device) -> None:
        self._step = step
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph = torch.cuda.CUDAGraph()
        self._batch: tuple[Tensor, Tensor] | None = None

    def eager(self, x: Tensor, y: Tensor) -> None:
        """A step, operation by operation."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            self._step(x, y)
        current.wait_stream(self._stream)

    def capture(self, x: Tensor, y: Tensor) -> None:
        """Record a step. Raises RuntimeError when that does not work; the step is whole nevertheless."""
        self._batch = x.clone(), y.clone()
        generator = self._step.augmentation
        state = generator.get_state()
        self._graph.register_generator_state(generator)
        current = torch.cuda.current_stream(self._device)
        try:
            with (
                torch.cuda.device(self._device),
                torch.cuda.stream(current),  # the current one afterwards as well, however the capture ends
                # Other threads, such as the one that writes checkpoints, may use the device meanwhile.
                torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"),
            ):
                self._step(*self._batch)
        except RuntimeError:
            # A capture that broke off keeps its memory, and its generator may seem to be recorded still.
            self._graph, self._batch = torch.cuda.CUDAGraph(), None
            self._step.augmentation = torch.Generator(self._device).set_state(state)
            raise

    def replay(self, x: Tensor, y: Tensor) -> None:
        """The recorded step; it reads the batch from where it was recorded, and draws as ``eager`` would."""
        assert self._batch is not None
        self._batch[0].copy_(x)
        self._batch[1].copy_(y)
        self._graph.replay()
